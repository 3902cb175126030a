"""Metrics against a second implementation, BD-rate against closed forms, rows and their cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pliant.errors import UsageError
from pliant.evaluation import codecs, metrics, report, run
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.report import Curve
from pliant.evaluation.run import Row

QUALITIES = (1.0, 2.0, 3.0, 4.0, 5.0)


def noisy(pixels: Pixels, sigma: float) -> Pixels:
    noise = np.random.default_rng(0).normal(0, sigma, pixels.shape)
    return np.clip(pixels + noise, 0, 255).round().astype(np.uint8)


def rows(codec: str, image: str, factor: float) -> list[Row]:
    """A codec that gains 6 dB per doubling of the rate and needs `factor` times the bits."""
    return [
        Row(codec, image, q, 0, factor * 0.1 * 2**q / 2, 24 + 6 * q, 1 - 0.1 / 2**q)
        for q in QUALITIES
    ]


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    assert metrics.psnr(black, black + 1) == pytest.approx(48.1308, abs=1e-4)
    assert metrics.psnr(black, black) == float("inf")


@pytest.mark.parametrize("sigma", [1, 10, 60])
def test_ms_ssim_agrees_with_pytorch_msssim(photos: dict[str, Pixels], sigma: float) -> None:
    pytorch_msssim = pytest.importorskip("pytorch_msssim")
    import torch

    reference = photos["astronaut"]  # 512x512: even at every scale, so no padding is involved
    image = noisy(reference, sigma)
    ours = metrics.ms_ssim(reference, image)
    tensors = [torch.tensor(a).permute(2, 0, 1)[None].double() for a in (reference, image)]
    theirs = pytorch_msssim.ms_ssim(*tensors, data_range=255).item()
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_ms_ssim_of_odd_sizes_and_grey(photo: Pixels) -> None:
    assert metrics.ms_ssim(photo, photo) == pytest.approx(1)
    grey = np.ascontiguousarray(photo[..., 1])
    assert 0.5 < metrics.ms_ssim(grey, noisy(grey, 20)) < 0.99


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ms_ssim])
def test_metrics_refuse_unequal_pairs(metric: object, photo: Pixels) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="shape"):
        metric(photo, photo[1:])
    with pytest.raises(ValueError, match="uint8"):
        metric(photo, photo.astype(np.float32))


def test_ms_ssim_refuses_small_images() -> None:
    small = np.zeros((160, 300, 3), np.uint8)
    with pytest.raises(ValueError, match="161"):
        metrics.ms_ssim(small, small)


@pytest.mark.parametrize("metric", ["psnr", "ms_ssim"])
def test_bd_rate_of_a_constant_factor(metric: report.Metric) -> None:
    pytest.importorskip("bjontegaard")
    anchor = report.mean_curve(rows("anchor", "a", 1.0))
    test = report.mean_curve(rows("test", "a", 0.8))
    for bpp in report.BPP_RANGES:
        found = report.bd_rate(anchor, test, bpp, metric)
        assert found is not None
        assert found.percent == pytest.approx(-20, abs=0.01)


def test_bd_rate_interval_is_what_the_anchor_spans() -> None:
    pytest.importorskip("bjontegaard")
    anchor = report.mean_curve(rows("anchor", "a", 1.0))  # 0.1 bpp at 30 dB, 1.6 bpp at 54 dB
    found = report.bd_rate(anchor, anchor, (0.2, 0.8))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((36, 48))
    assert found.percent == pytest.approx(0, abs=1e-6)
    out_of_reach = Curve((1.0, 2.0), (0.1, 0.2), (60.0, 61.0), (0.9, 0.91))
    assert report.bd_rate(anchor, out_of_reach, (0.2, 0.8)) is None


def test_mean_curve_and_mean_of_images_differ_as_defined() -> None:
    pytest.importorskip("bjontegaard")
    anchor = rows("anchor", "a", 1.0) + rows("anchor", "b", 3.0)
    test = rows("test", "a", 0.5) + rows("test", "b", 3.0)  # 50 % off where few bits are spent
    assert report.mean_bd_rate(anchor, test, (0.1, 1.0)) == pytest.approx(-25, abs=0.01)
    comparisons = report.compare(anchor + test, "anchor")
    table = report.bd_table(comparisons, {"anchor": "Anchor", "test": "Test"})
    assert "| Test | -12.5 / -25.0 |" in table


def test_mean_curve_refuses_missing_rows() -> None:
    with pytest.raises(ValueError, match="every image"):
        report.mean_curve(rows("x", "a", 1.0) + rows("x", "b", 1.0)[1:])


@pytest.mark.parametrize("name", ["jpeg-420", "webp", "avif-444-psnr", "jxl", "jpeg2000"])
def test_rivals_round_trip_and_rise_with_quality(name: str, photo: Pixels) -> None:
    if name == "jxl":
        pytest.importorskip("imagecodecs")
    codec = codecs.find(name)
    low, high = codec.qualities[1], codec.qualities[-2]
    small = photo[:200, :200]
    cheap, dear = (run.measure_one(codec, "x", small, q) for q in (low, high))
    assert cheap.bytes < dear.bytes
    assert cheap.psnr < dear.psnr
    assert dear.psnr > 35


def test_unknown_codec_is_named() -> None:
    with pytest.raises(UsageError, match="'gif'"):
        codecs.find("gif")


def test_at_size_comes_nearest(photo: Pixels) -> None:
    codec = codecs.find("jpeg-420")
    target = len(codec.encode(photo, 63))
    quality, data = run.at_size(codec, photo, target)
    assert (quality, len(data)) == (63, target)


def test_measure_keeps_the_rows_of_rivals(tmp_path: Path, photo: Pixels) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    paths = run.images_in(tmp_path)
    lines: list[str] = []
    for _ in range(2):
        found = run.measure(
            ["jpeg-420"],
            paths,
            qualities={"jpeg-420": [30, 60]},
            cache=run.RowCache(tmp_path / "cache"),
            progress=lines.append,
        )
        assert [row.quality for row in found] == [30, 60]
    assert lines == ["jpeg-420 photo.png"]  # the second time nothing had to be measured


def test_plot_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report.plot(rows("x", "a", 1.0), {"x": "X"}, tmp_path / "plot.svg", "title")
    assert (tmp_path / "plot.svg").read_bytes().startswith(b"<?xml")
