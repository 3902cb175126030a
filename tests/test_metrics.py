"""The metrics that need only numpy against second implementations, and the list of all metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pliant.errors import MissingError
from pliant.evaluation import metrics, perceptual
from pliant.evaluation.metrics import METRICS, PAIRWISE
from pliant.evaluation.pixels import Pixels, as_rgb

ALWAYS = ("psnr", "psnr_y", "ms_ssim")


def noisy(pixels: Pixels, sigma: float) -> Pixels:
    noise = np.random.default_rng(0).normal(0, sigma, pixels.shape)
    return np.clip(pixels + noise, 0, 255).round().astype(np.uint8)


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    assert metrics.psnr(black, black + 1) == pytest.approx(48.1308, abs=1e-4)
    assert metrics.psnr(black, black) == float("inf")


@pytest.mark.parametrize("sigma", [1, 30])
def test_psnr_agrees_with_scikit_image(photo: Pixels, sigma: float) -> None:
    skimage = pytest.importorskip("skimage.metrics")
    image = noisy(photo, sigma)
    theirs = skimage.peak_signal_noise_ratio(photo, image, data_range=255)
    assert metrics.psnr(photo, image) == pytest.approx(theirs, abs=1e-9)


def test_luma_psnr_agrees_with_scikit_image(photo: Pixels) -> None:
    color = pytest.importorskip("skimage.color")
    image = noisy(photo, 10)
    # scikit-image gives BT.601 luma on the studio range 16..235.
    error = color.rgb2ycbcr(photo)[..., 0] - color.rgb2ycbcr(image)[..., 0]
    theirs = 10 * math.log10(219**2 / np.mean(error**2))
    assert metrics.psnr_y(photo, image) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("channel,weight", [(0, 0.299), (1, 0.587), (2, 0.114)])
def test_luma_psnr_of_one_channel(channel: int, weight: float) -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    image = black.copy()
    image[..., channel] = 10
    expected = 20 * math.log10(255 / (10 * weight))
    assert metrics.psnr_y(black, image) == pytest.approx(expected, abs=1e-9)


def test_luma_psnr_of_grey_is_psnr(photo: Pixels) -> None:
    grey, worse = photo[..., 1], noisy(photo[..., 1], 9)
    expected = metrics.psnr(grey, worse)
    assert metrics.psnr_y(grey, worse) == expected
    assert metrics.psnr_y(grey[..., None], worse[..., None]) == expected
    tripled = (as_rgb(grey), as_rgb(worse))
    assert metrics.psnr_y(*tripled) == pytest.approx(expected, abs=1e-9)


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


def test_ms_ssim_refuses_small_images() -> None:
    small = np.zeros((160, 300, 3), np.uint8)
    with pytest.raises(ValueError, match="161"):
        metrics.ms_ssim(small, small)


def test_ms_ssim_in_decibels() -> None:
    assert metrics.ms_ssim_db(0.99) == pytest.approx(20)
    assert metrics.ms_ssim_db(1) == math.inf


@pytest.mark.parametrize("name", sorted(METRICS))
def test_metrics_refuse_unequal_pairs(name: str, photo: Pixels) -> None:
    metric = PAIRWISE[name]
    with pytest.raises(ValueError, match="shape"):
        metric(photo, photo[1:])
    with pytest.raises(ValueError, match="uint8"):
        metric(photo.astype(np.float32), photo.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 or 3"):
        metric(photo[..., :2], photo[..., :2])


def test_the_list_of_metrics(photo: Pixels) -> None:
    assert list(METRICS) == [metric.name for metric in METRICS.values()]
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    for metric in METRICS.values():
        assert (metric.best > metric.worst) == metric.higher_is_better
        assert metric.source
    for name in ALWAYS:
        METRICS[name].check()
        best, good, bad = (PAIRWISE[name](photo, noisy(photo, sigma)) for sigma in (0, 2, 20))
        assert METRICS[name].best == pytest.approx(best)
        assert METRICS[name].worst < bad < good < best


def test_metrics_without_weights_say_so(monkeypatch: pytest.MonkeyPatch, photo: Pixels) -> None:
    monkeypatch.delenv(perceptual.VARIABLE, raising=False)
    with pytest.raises(MissingError, match=perceptual.VARIABLE):
        METRICS["lpips_alex"].check()
    with pytest.raises(MissingError, match=perceptual.VARIABLE):
        METRICS["lpips_alex"].compute(photo, photo)
