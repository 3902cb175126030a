"""Every curve is drawn and named; what was measured sets the frame."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from synthetic_rows import rows

from pliant.evaluation import plots
from pliant.evaluation.curves import Curve, mean_curve
from pliant.evaluation.plots import Line

pytest.importorskip("matplotlib")

MEASURED = Line("jpeg", mean_curve(rows("jpeg", "a", 1.0)))
PLIANT = Line("pliant", mean_curve(rows("pliant", "a", 0.5)))
PUBLISHED = Line("VTM", Curve((0.01, 30.0), {"psnr": (5.0, 90.0)}), published=True)


@pytest.mark.parametrize("log_rate", [False, True])
@pytest.mark.parametrize("metric", ["psnr", "ms_ssim", "lpips_squeeze"])
def test_plots_name_every_curve(metric: str, log_rate: bool, tmp_path: Path) -> None:
    path = tmp_path / "plots" / "plot.svg"
    lines = [MEASURED, PLIANT, *([PUBLISHED] if metric == "psnr" else [])]
    plots.rate_distortion(lines, metric, path, "Title", log_rate=log_rate)
    svg = path.read_text()
    for line in lines:
        assert f">{line.label}</text>" in svg
    assert "bits of the file per pixel" in svg
    assert ("log scale" in svg) == log_rate


def test_plots_are_equal_from_run_to_run(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        plots.rate_distortion([MEASURED], "psnr", tmp_path / name, "Title", log_rate=True)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_frame_is_set_by_what_was_measured(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    lossless = Line("x", Curve((2.0,), {"psnr": (math.inf,)}))
    lines = [MEASURED, lossless]
    plots._draw(axes, [*lines, PUBLISHED], "psnr")
    plots._frame(axes, [line.curve for line in lines], "psnr", False)
    low, high = axes.get_ylim()
    assert 28 < low < 30 < 54 < high < 56
    assert axes.get_xlim() == pytest.approx((0, 2.06))


def test_axis_of_a_distance_points_down() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    plots._draw(axes, [MEASURED], "lpips_squeeze")
    plots._frame(axes, [MEASURED.curve], "lpips_squeeze", True)
    bottom, top = axes.get_ylim()
    assert bottom > 0.5 > 0.1 > top


def test_a_title_is_no_formula(tmp_path: Path) -> None:
    plots.rate_distortion([MEASURED], "psnr", tmp_path / "a.svg", "a$_{$", log_rate=True)
    assert ">a$_{$</text>" in (tmp_path / "a.svg").read_text()


def test_png_by_its_suffix(tmp_path: Path) -> None:
    plots.rate_distortion([MEASURED], "psnr", tmp_path / "plot.png", "Title", log_rate=True)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
