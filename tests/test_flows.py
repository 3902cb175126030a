"""The benchmark of the invertible systems on made-up rows: curves, tables, pictures."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from small_zoo import make
from synthetic_rows import rows

from pliant.evaluation import metrics
from pliant.layers.anchor_gains import anchor_rates
from pliant.models.ilc import IlcModel
from pliant.rate import to_quality

sys.path.append(str(ROOT / "benchmarks"))

import curve_axes
import flow_plots
import flows
from flow_jobs import ANCHORS, EXACT, JOBS, TWELVE

# Bits that a model needs, of those of the formula.
FACTORS = {EXACT: 1.0, TWELVE: 1.1, "msinn-float": 0.8, "factorized": 2.0, "ilc-student": 0.9}


def made_up() -> dict[str, list[Any]]:
    """6 dB per doubling of the rate; halfway between anchors, one percent more bits."""
    found = {}
    for job in JOBS:
        kind = job.name.removesuffix(f"-{job.single}")
        factor = FACTORS.get(kind, 1.0)
        if job.single:
            place = 2 + math.log2(job.single / 0.0018) / 2
            found[job.name] = rows(job.codec, "photo", factor, [place])
            continue
        anchors = anchor_rates(ANCHORS[job.name])
        found[job.name] = []
        for rate in flows._rates(job):
            (row,) = rows(job.codec, "photo", factor, [5 - 4 * rate / 2047])
            more = 1.0 if rate in anchors else 1.01
            quality, size = to_quality(rate), round(more * row.bytes)
            changed = {"quality": quality, "bytes": size}
            found[job.name].append(flows.Row(**{**vars(row), **changed}))
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    unrounded = {"ilc-teacher": [[0.3, 30.0, 31.75]], "ilc-student": []}
    return {"photos": 1, **flows.compared(made_up()), "unrounded": unrounded}


def test_every_pair_is_compared(found: dict[str, Any]) -> None:
    pairs = {(pair["test"], pair["against"]): pair for pair in found["pairs"]}
    assert list(pairs) == list(flows.PAIRS)
    assert pairs[EXACT, "msinn-float"]["bd_rate"][0] == pytest.approx(25, abs=0.1)
    assert pairs[EXACT, "factorized"]["bd_rate"][0] == pytest.approx(-50, abs=0.1)
    assert pairs["ilc-student", "ilc-teacher"]["bd_rate"][0] == pytest.approx(-10, abs=0.1)
    expected = 6 * math.log2(1 / 0.9)
    assert pairs["ilc-student", "ilc-teacher"]["bd_psnr"] == pytest.approx(expected, abs=0.02)
    assert pairs["ilc-early", "ilc-student"]["bd_rate"] == [None] * len(flows.RANGES)
    assert len(flows.RANGES) == len(flows.RANGE_NAMES)


def test_rates_between_anchors_are_held_against_the_curve(found: dict[str, Any]) -> None:
    assert len(found["curves"][EXACT]) == 8
    assert len(found["between"][EXACT]) == 7
    assert len(found["between"][TWELVE]) == 11
    for points in found["between"].values():
        assert [p[2] for p in points] == pytest.approx([1.0] * len(points), abs=0.1)


def test_halfway_is_halfway() -> None:
    (job,) = [job for job in JOBS if job.name == TWELVE]
    rates = flows._rates(job)
    assert len(set(rates)) == 23
    assert all(to_quality(rate) != to_quality(rate + 1) for rate in rates)
    assert flows._halfway([10, 4, 0]) == [7, 2]


def test_what_is_not_trained_is_left_out() -> None:
    few = {name: own for name, own in made_up().items() if name in (EXACT, "ilc-teacher-0.013")}
    found = flows.compared(few)
    assert found["curves"].keys() == {EXACT, "ilc-teacher"}
    assert not found["pairs"]
    text = flows.table({"set": {"photos": 1, "unrounded": {}, **found}})
    assert EXACT in text


def test_table(found: dict[str, Any]) -> None:
    text = flows.table({"kodak": found})
    assert "## kodak, 1 photos" in text
    (line,) = [t for t in text.splitlines() if t.startswith("| ilc-student | ilc-teacher")]
    assert "| -10." in line or "| -9.9" in line
    (line,) = [t for t in text.splitlines() if t.startswith("| ilc-early | ilc-student")]
    assert line.count("–") == len(flows.RANGES) + 1
    (line,) = [t for t in text.splitlines() if t.startswith(f"| {TWELVE} | 0.110 to 1.760")]
    assert "+1.0" in line
    assert "| ilc-teacher | 0.3000 | 30.00 | 31.75 | 1.75 |" in text


def test_pictures_name_what_was_measured(found: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for draw, names in (
        (flow_plots.draw_msinn, flow_plots.MSINN),
        (flow_plots.draw_ilc, flow_plots.ILC),
    ):
        path = tmp_path / "picture.svg"
        draw(found, "kodak, 1 photos", path)
        text = path.read_text()
        assert "kodak, 1 photos" in text
        for label, _ in names.values():
            assert f"{label}<" in text or label in text
        draw({**found, "curves": {}, "between": {}, "unrounded": {}}, "nothing", path)


def test_rate_at_equal_psnr() -> None:
    """Curves that are straight lines over the logarithm of the rate."""
    reference = [[0.1, 30.0], [0.2, 36.0], [0.19, 35.0], [0.4, 42.0]]
    test = [[0.15, 33.0], [0.3, 39.0], [0.6, 45.0]]
    psnr, percent = curve_axes.difference(reference, test)
    assert (psnr[0], psnr[-1]) == (33.0, 42.0)
    assert percent == pytest.approx([100 * (1.5 / 2**0.5 - 1)] * len(psnr), abs=1e-6)
    away = curve_axes.away(reference, test)
    assert away[:2] == pytest.approx([100 * (1.5 / 2**0.5 - 1)] * 2, abs=1e-6)
    assert np.isnan(away[2])
    assert np.isnan(curve_axes.away(reference[:1], test)).all()
    assert len(curve_axes.difference(reference, [[1.0, 50.0], [2.0, 51.0]])[0]) == 0


def test_what_rounding_costs(photo: Any, tmp_path: Path) -> None:
    """Nothing else is lost: of ILC's latent, what is not coded stays zero."""
    path = tmp_path / "photo.png"
    pixels = photo[:70, :91]
    Image.fromarray(pixels).save(path)
    model = make("exact ilc")
    assert isinstance(model, IlcModel)
    found = flows.unrounded_psnr(model, path)
    with torch.no_grad():
        image = torch.from_numpy(np.pad(pixels, ((0, 2), (0, 5), (0, 0)), "edge").copy())
        image = image.permute(2, 0, 1)[None].float()
        y, z = model.flow.parts(image)
        decoded = model.flow.joined(y, torch.zeros_like(z))[0, :, :70, :91].permute(1, 2, 0)
        whole = model.flow.joined(y, z)[0, :, :70, :91].permute(1, 2, 0)
    assert found == metrics.psnr(pixels, decoded.round().clamp(0, 255).byte().numpy())
    assert found < 60
    assert metrics.psnr(pixels, whole.round().clamp(0, 255).byte().numpy()) == math.inf
