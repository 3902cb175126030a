"""Curves and Bjontegaard deltas against closed forms and against the package itself."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from synthetic_rows import QUALITIES, rows

from pliant.evaluation import curves
from pliant.evaluation.curves import Curve

BDRATE = pytest.importorskip("bjontegaard")


@pytest.mark.parametrize("metric", ["psnr", "ms_ssim", "lpips_squeeze"])
def test_bd_rate_of_a_constant_factor(metric: str) -> None:
    anchor = curves.mean_curve(rows("anchor", "a", 1.0))
    test = curves.mean_curve(rows("test", "a", 0.8))
    for bpp in curves.BPP_RANGES:
        found = curves.bd_rate(anchor, test, bpp, metric)
        assert found is not None
        assert found.percent == pytest.approx(-20, abs=0.01)


def test_bd_rate_interval_is_what_the_anchor_spans() -> None:
    anchor = curves.mean_curve(rows("anchor", "a", 1.0))
    found = curves.bd_rate(anchor, anchor, (0.2, 0.8))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((36, 48))
    assert found.percent == pytest.approx(0, abs=1e-6)
    out_of_reach = Curve((0.1, 0.2), {"psnr": (60.0, 61.0)})
    assert curves.bd_rate(anchor, out_of_reach, (0.2, 0.8)) is None


def test_whole_range_is_what_the_package_computes() -> None:
    anchor = Curve((0.11, 0.3, 0.55, 1.2, 2.0), {"psnr": (27.1, 30.9, 33.0, 37.5, 40.2)})
    test = Curve((0.2, 0.4, 0.9, 2.5), {"psnr": (29.0, 32.2, 36.4, 42.0)})
    found = curves.bd_rate(anchor, test)
    expected = BDRATE.bd_rate(
        anchor.bpp,
        anchor.psnr,
        test.bpp,
        test.psnr,
        method="pchip",
        require_matching_points=False,
        min_overlap=0,
    )
    assert found is not None
    assert found.percent == pytest.approx(expected, abs=1e-4)
    assert (found.low, found.high) == (29.0, 40.2)


def test_bd_quality_of_a_constant_factor() -> None:
    anchor = curves.mean_curve(rows("anchor", "a", 1.0))
    test = curves.mean_curve(rows("test", "a", 0.5))  # one doubling: 6 dB
    found = curves.bd_quality(anchor, test)
    assert found is not None
    assert found.difference == pytest.approx(6, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.1, 0.8))
    part = curves.bd_quality(anchor, test, (0.2, 0.4))
    assert part is not None
    assert (part.low, part.high) == pytest.approx((0.2, 0.4))
    assert curves.bd_quality(anchor, test, (2.0, 4.0)) is None


def test_distances_win_when_they_are_smaller() -> None:
    anchor = curves.mean_curve(rows("anchor", "a", 1.0))
    test = curves.mean_curve(rows("test", "a", 0.5))
    found = curves.bd_quality(anchor, test, None, "lpips_squeeze")
    assert found is not None
    assert found.difference == pytest.approx(0.1, abs=1e-6)


def test_mean_curve_and_mean_of_images_differ_as_defined() -> None:
    anchor = rows("anchor", "a", 1.0) + rows("anchor", "b", 3.0)
    test = rows("test", "a", 0.5) + rows("test", "b", 3.0)  # 50 % off where few bits are spent
    assert curves.mean_bd_rate(anchor, test, (0.1, 1.0)) == pytest.approx(-25, abs=0.01)
    entry = next(
        entry
        for entry in curves.compare(anchor + test, "anchor")
        if (entry.codec, entry.metric, entry.bpp) == ("test", "psnr", (0.1, 1.0))
    )
    assert entry.mean_curve is not None
    assert entry.mean_curve.percent == pytest.approx(-12.5, abs=0.01)
    assert entry.mean_of_images == pytest.approx(-25, abs=0.01)
    assert (entry.images, entry.total) == (2, 2)


def test_images_that_never_meet_are_left_out_of_their_mean() -> None:
    high = [replace(r, metrics={"psnr": r.psnr + 100}) for r in rows("test", "b", 1.0)]
    anchor = rows("anchor", "a", 1.0) + rows("anchor", "b", 1.0)
    own = curves.bd_of_images(anchor, rows("test", "a", 0.8) + high)
    assert list(own) == ["a"]


def test_mean_curve_refuses_what_is_no_curve() -> None:
    with pytest.raises(ValueError, match="every image"):
        curves.mean_curve(rows("x", "a", 1.0) + rows("x", "b", 1.0)[1:])
    with pytest.raises(ValueError, match="one codec"):
        curves.mean_curve(rows("x", "a", 1.0) + rows("y", "a", 1.0))


def test_mean_curve_keeps_the_metrics_that_every_row_has() -> None:
    group = rows("x", "a", 1.0)
    group[2] = replace(group[2], metrics={"psnr": group[2].psnr})
    curve = curves.mean_curve(group)
    assert list(curve.metrics) == ["psnr"]
    assert curve.quality == QUALITIES


def test_complete_keeps_the_images_that_all_codecs_finished() -> None:
    whole = rows("x", "a", 1.0) + rows("y", "a", 1.0, (7.0, 8.0))
    cut_short = rows("x", "b", 1.0) + rows("y", "b", 1.0, (7.0,))
    assert curves.complete(whole + cut_short) == whole


def test_lossless_points_are_left_out() -> None:
    anchor = curves.mean_curve(rows("anchor", "a", 1.0))
    lossless = Curve((*anchor.bpp, 9.0), {"psnr": (*anchor.psnr, math.inf)})
    found = curves.bd_rate(anchor, lossless)
    assert found is not None
    assert found.percent == pytest.approx(0, abs=1e-6)
    assert curves.bd_rate(anchor, Curve((9.0,), {"psnr": (math.inf,)})) is None


def test_of_equal_rates_the_best_counts() -> None:
    anchor = curves.mean_curve(rows("anchor", "a", 1.0))
    bpp, psnr = anchor.bpp, anchor.psnr
    doubled = Curve((bpp[0], bpp[0], *bpp[1:]), {"psnr": (psnr[0] - 3, *psnr)})
    found = curves.bd_rate(anchor, doubled)
    assert found is not None
    assert found.percent == pytest.approx(0, abs=1e-6)


def test_largest_gap_is_measured_at_equal_rate() -> None:
    reference = curves.mean_curve(rows("x", "a", 1.0))
    shifted = Curve((0.05, 0.2, 0.4), {"psnr": (0.0, 36.1, 41.7)})  # the first is out of reach
    assert curves.largest_gap(shifted, reference) == pytest.approx(0.3)
    assert curves.largest_gap(Curve((9.0,), {"psnr": (50.0,)}), reference) is None


def test_names_and_ranges_in_words() -> None:
    assert curves.metric_label("psnr") == "PSNR (RGB), dB"
    assert curves.metric_label("unheard_of") == "unheard_of"
    assert curves.lower_is_better("lpips_squeeze")
    assert not curves.lower_is_better("unheard_of")
    assert [curves.range_label(r) for r in (None, (0.1, 1.0))] == ["whole range", "0.1-1 bpp"]
