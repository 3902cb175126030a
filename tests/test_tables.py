"""The cells of the report's tables against values known in advance."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic_rows import rows

from pliant.evaluation import tables
from pliant.evaluation.curves import bd_of_images, compare, mean_curve
from pliant.evaluation.published import PublishedCurve

pytest.importorskip("bjontegaard")

ANCHOR = rows("anchor", "a", 1.0) + rows("anchor", "b", 1.0)
TEST = rows("test", "a", 0.5) + rows("test", "b", 0.8)
CURVES = {"anchor": mean_curve(ANCHOR), "test": mean_curve(TEST)}


def test_summary_has_mean_curve_and_mean_of_images() -> None:
    table = tables.bd_summary(compare(ANCHOR + TEST, "anchor"), "psnr")
    assert table.head == ["BD-rate, %, vs anchor", "whole range"] + [
        f"{r} bpp" for r in ("0.1-1", "1-4", "0.1-0.5")
    ]
    assert table.lines == [["test", *["-35.0 / -35.0"] * 4]]


def test_summary_says_when_images_have_no_delta() -> None:
    far = [replace(r, metrics={"psnr": r.psnr + 100}) for r in rows("test", "b", 0.8)]
    anchor = [replace(row, metrics={"psnr": row.psnr}) for row in ANCHOR]
    near = [replace(r, metrics={"psnr": r.psnr}) for r in rows("test", "a", 0.5)]
    line = tables.bd_summary(compare(anchor + near + far, "anchor"), "psnr").lines[0]
    assert line[1] == "– / -50.0 (1/2)"


def test_details_print_the_intervals() -> None:
    table = tables.bd_details(compare(ANCHOR + TEST, "anchor"), "psnr")
    assert table.lines[0][:4] == ["test, whole range", "-35.0", "30.00-54.00", "-35.0 (2)"]
    assert table.lines[0][5] == "0.100-1.040"
    distance = tables.bd_details(compare(ANCHOR + TEST, "anchor"), "lpips_squeeze")
    assert distance.lines[0][2] == "0.100-0.500"
    assert table.head[4] == "BD-PSNR (RGB), dB"


def test_matrix_is_codec_against_codec() -> None:
    table = tables.bd_matrix(CURVES, "psnr")
    assert table.head == ["BD-rate, %, vs", "anchor", "test"]
    assert table.lines == [["anchor", "+0.0", "+53.8"], ["test", "-35.0", "+0.0"]]


def test_published_curves_are_anchors_too() -> None:
    anchor = CURVES["anchor"]
    entry = PublishedCurve(
        name="p",
        label="Paper",
        bpp=anchor.bpp,
        value=anchor.psnr,
        metric="psnr",
        test_set="kodak",
        source="somewhere",
        caveat="",
        protocol="means",
        kind="classical",
        year=2020,
    )
    assert tables.bd_published(CURVES, [entry]).lines == [["anchor", "+0.0"], ["test", "-35.0"]]
    assert tables.sources([entry]).lines == [["Paper", "somewhere", "means", "–"]]


def test_images_name_the_ends() -> None:
    own = {"test": bd_of_images(ANCHOR, TEST), "none": {}}
    assert tables.images(own).lines == [["test", "a -50.0", "b -20.0", "-35.0", "15.0"]]
    assert tables.per_image(own).lines == [["a", "-50.0", "–"], ["b", "-20.0", "–"]]


def test_timings_are_medians_and_ratios_to_the_anchor() -> None:
    timed = [replace(r, metrics={}, workers=2) for r in rows("peer", "a", 3.0, (1.0,))]
    table = tables.timings(ANCHOR + TEST + timed, "anchor")
    assert table.lines[0] == ["anchor", "0.2", "×1", "0.1", "×1", "100", "1", "10"]
    assert table.lines[1][:3] == ["test", "0.13", "×0.65"]
    assert table.lines[2] == ["peer", "0.6", "×3", "0.3", "×3", "300", "2", "1"]


def test_untimed_rows_have_no_times() -> None:
    untimed = [replace(r, encode_seconds=0.0, decode_seconds=0.0, peak_memory=0.0) for r in ANCHOR]
    assert tables.timings(untimed, "anchor").lines[0][1:6] == ["–"] * 5


def test_mean_curves_list_every_point() -> None:
    table = tables.mean_curves(CURVES, ["psnr", "ms_ssim"])
    assert table.head == ["codec", "quality", "bpp", "PSNR (RGB), dB", "MS-SSIM"]
    assert table.lines[0] == ["anchor", "1", "0.1000", "30.00", "0.9500"]
    assert len(table.lines) == 10


def test_codec_list_tells_timing_only_codecs() -> None:
    timed = [replace(row, metrics={}) for row in rows("peer", "a", 3.0)]
    lines = tables.codec_list(ANCHOR + timed, {"anchor": "a note"}).lines
    assert lines[0] == ["anchor", "1", "5", "0.10-1.60", "a note"]
    assert lines[1][4] == "timing only"
