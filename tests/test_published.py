"""The published curves: sane, complete in words, and with the known deltas between them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_rows import rows

from pliant.errors import UsageError
from pliant.evaluation import codecs, curves, metrics, published
from pliant.evaluation.curves import Curve
from pliant.evaluation.pictures import images_in, read_rgb

EVERY = [
    curve
    for test_set in published.test_sets()
    for metric in ("psnr", "ms_ssim")
    for curve in published.curves(test_set, metric)
]


def bd_rate(anchor: str, test: str, test_set: str = "kodak", metric: str = "psnr") -> float:
    pytest.importorskip("bjontegaard")
    found = curves.bd_rate(
        published.find(anchor, test_set, metric).curve,
        published.find(test, test_set, metric).curve,
        None,
        metric,
    )
    assert found is not None
    return found.percent


def test_every_curve_is_sane_and_explained() -> None:
    assert len(EVERY) > 190
    for curve in EVERY:
        assert len(curve.bpp) == len(curve.value) >= 4
        assert list(curve.bpp) == sorted(curve.bpp)
        assert 0 < curve.bpp[0] < curve.bpp[-1] < 24
        low, high = (20, 60) if curve.metric == "psnr" else (0.5, 1)
        assert low < min(curve.value) <= max(curve.value) <= high
        assert "figures:" in curve.source
        assert curve.protocol
        assert 1990 < curve.year < 2030


def test_names_are_unique_and_labels_tell_curves_apart() -> None:
    assert len({(c.test_set, c.metric, c.name) for c in EVERY}) == len(EVERY)
    assert len({(c.test_set, c.metric, c.label) for c in EVERY}) == len(EVERY)


@pytest.mark.parametrize(
    "name",
    [
        "VTM-18.0",
        "VTM-9.1",
        "BPG-0.9.8-444-x265",
        "HM-16.20+SCM-8.8",
        "AV1-libaom",
        "compressai-bmshj2018-factorized-mse",
        "compressai-mbt2018-mse",
        "compressai-cheng2020-attn-mse",
        "kamisli2024-mbt2018-vbr",
        "MSINN-8",
        "MSINN-12",
        "QARV-base",
        "paper-elic2022-mse",
        "TCM-large",
        "MLIC++",
        "DCAE",
        "HPCM-Large",
        "Cool-chic-5.0",
        "EVC-EncS_DecS",
    ],
)
def test_kodak_has(name: str) -> None:
    assert published.find(name).label


def test_shown_curves_exist() -> None:
    assert {curve.name for curve in published.curves()} >= set(published.SHOWN)


def test_unknown_curves_are_named() -> None:
    with pytest.raises(UsageError, match="'H266'"):
        published.find("H266")
    assert published.curves("no such set") == []


def test_what_is_missing_is_said() -> None:
    assert any("VTM-18.0" in line for line in published.missing())
    assert any("VTM-18.0" in line for line in published.notes())


# One model for all rates against one model per rate; what post-training costs.
@pytest.mark.parametrize(
    "anchor, test, percent",
    [
        ("compressai-bmshj2018-hyperprior-mse", "kamisli2024-bmshj2018-hyperprior-vbr", -0.01),
        ("compressai-mbt2018-mean-mse", "kamisli2024-mbt2018-mean-vbr", 2.08),
        ("compressai-mbt2018-mse", "kamisli2024-mbt2018-vbr", 8.73),
    ],
)
def test_cost_of_one_model_for_all_rates(anchor: str, test: str, percent: float) -> None:
    assert bd_rate(anchor, test) == pytest.approx(percent, abs=0.02)


def test_deltas_that_the_authors_state() -> None:
    assert bd_rate("VTM-9.1", "LALIC") == pytest.approx(-15.26, abs=0.01)
    assert bd_rate("VTM-9.1", "LALIC", "clic2020-pro") == pytest.approx(-15.41, abs=0.02)
    assert bd_rate("VTM-9.1", "LALIC", "tecnick") == pytest.approx(-17.63, abs=0.02)
    assert bd_rate("VTM-18.0", "QARV-base") == pytest.approx(-5.89, abs=0.02)
    assert bd_rate("VTM-18.0", "QARV-base", "tecnick") == pytest.approx(-8.9, abs=0.05)


def test_versions_of_vtm_differ_as_the_notes_say() -> None:
    assert bd_rate("VTM-18.0", "VTM-9.1") == pytest.approx(0.2, abs=0.05)
    assert bd_rate("VTM-18.0", "VTM-12.1-fullchain") == pytest.approx(7.8, abs=0.05)


@pytest.mark.parametrize(
    "test_set, percent", [("kodak", 2.5), ("clic2020-pro", 3.3), ("tecnick", 3.2)]
)
def test_more_anchors_cost_msinn_a_little(test_set: str, percent: float) -> None:
    assert bd_rate("MSINN-8", "MSINN-12", test_set) == pytest.approx(percent, abs=0.1)


def test_the_test_set_is_told_only_when_it_is_whole() -> None:
    kodak = [
        replace(row, width=512 if n % 5 == 0 else 768, height=768 if n % 5 == 0 else 512)
        for n in range(1, 25)
        for row in rows("x", f"kodim{n:02}.png", 1.0, (1.0, 2.0))
    ]
    assert published.test_set_of(kodak) == "kodak"
    assert published.test_set_of(kodak[:-2]) is None
    assert published.test_set_of([*kodak[:-2], replace(kodak[-1], width=767)]) is None
    assert published.test_set_of([replace(row, image="photo.png") for row in kodak]) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, reference, qualities",
    [
        ("jpeg-420", "jpeg@pillow-optimize-420", (15, 80)),
        ("webp", "webp@m6", (50,)),
        ("jpeg2000", "jpeg2000@pillow-irrev", (0.8,)),
    ],
)
def test_classic_codecs_agree_with_earlier_measurements(
    name: str, reference: str, qualities: tuple[float, ...], shared_data: Path
) -> None:
    file = shared_data.parent / "anchors" / "classic_kodak.json"
    if not file.is_file():
        pytest.skip(f"no {file}")
    earlier = json.loads(file.read_text())[reference]
    codec = codecs.find(name)
    pictures = [read_rgb(path) for path in images_in(shared_data / "kodak")]
    points = []
    for quality in qualities:
        files = [codec.encode(pixels, quality) for pixels in pictures]
        rates = [8 * len(f) / p[..., 0].size for f, p in zip(files, pictures, strict=True)]
        values = [metrics.psnr(p, codec.decode(f)) for f, p in zip(files, pictures, strict=True)]
        points.append((float(np.mean(rates)), float(np.mean(values))))
    bpp, psnr = zip(*points, strict=True)
    gap = curves.largest_gap(
        Curve(bpp, {"psnr": psnr}),
        Curve(tuple(earlier["bpp"]), {"psnr": tuple(earlier["psnr"])}),
    )
    assert gap is not None
    assert gap < 0.1
