"""Rows to mean curves, BD-rate, a Markdown table and a plot."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from pliant.errors import MissingError
from pliant.evaluation.metrics import ms_ssim_db
from pliant.evaluation.run import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metric: TypeAlias = Literal["psnr", "ms_ssim"]
BppRange: TypeAlias = tuple[float, float]

BPP_RANGES: tuple[BppRange, ...] = ((0.1, 1.0), (1.0, 4.0), (0.1, 4.0))
METRIC_LABELS: Mapping[Metric, str] = {"psnr": "PSNR (RGB), dB", "ms_ssim": "MS-SSIM, dB"}
# The curves are resampled this densely inside the common interval, so that cutting them there does
# not change their interpolation.
_SAMPLES = 200


@dataclass(frozen=True)
class Curve:
    """Rate and quality of one codec, on one image or as means over several; by rising bpp."""

    quality: tuple[float, ...]
    bpp: tuple[float, ...]
    psnr: tuple[float, ...]
    ms_ssim: tuple[float, ...]

    def values(self, metric: Metric) -> tuple[float, ...]:
        """The metric in dB (MS-SSIM as -10 log10(1 - value))."""
        return self.psnr if metric == "psnr" else tuple(map(ms_ssim_db, self.ms_ssim))


@dataclass(frozen=True)
class BDRate:
    """Mean difference in rate over the interval [low, high] of the metric; negative saves bits."""

    percent: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """BD-rate of one codec against an anchor over one range of the anchor's rate."""

    codec: str
    anchor: str
    metric: Metric
    bpp: BppRange
    mean_curve: BDRate | None
    mean_of_images: float | None


def mean_curve(rows: Sequence[Row]) -> Curve:
    """Means of bpp, PSNR and MS-SSIM over the images, quality by quality.

    Raises:
        ValueError: the rows are not one codec's, or not every image has every quality.
    """
    by_quality: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        by_quality[row.quality].append(row)
    images = {row.image for row in rows}
    if len({row.codec for row in rows}) != 1:
        raise ValueError("a curve needs the rows of exactly one codec")
    if any(len(group) != len(images) for group in by_quality.values()):
        raise ValueError("not every image has every quality exactly once")
    points = sorted(
        (
            statistics.fmean(row.bpp for row in group),
            quality,
            statistics.fmean(row.psnr for row in group),
            statistics.fmean(row.ms_ssim for row in group),
        )
        for quality, group in by_quality.items()
    )
    bpp, quality, psnr, ms_ssim = zip(*points, strict=True)
    return Curve(quality, bpp, psnr, ms_ssim)


def bd_rate(anchor: Curve, test: Curve, bpp: BppRange, metric: Metric = "psnr") -> BDRate | None:
    """Bjontegaard delta rate of `test` against `anchor` by PCHIP (log rate over the metric).

    The interval is what the anchor spans between the two rates, as far as the test reaches it;
    None where they do not meet.
    """
    try:
        import bjontegaard
    except ImportError as error:
        raise MissingError("BD-rate needs bjontegaard: pip install 'pliant[eval]'") from error
    quality_a, rate_a = _rising(anchor, metric)
    quality_t, rate_t = _rising(test, metric)
    span = _pchip(rate_a, quality_a, np.clip(np.log10(bpp), rate_a[0], rate_a[-1]))
    low, high = max(span[0], quality_t[0]), min(span[1], quality_t[-1])
    if low >= high:
        return None
    grid = np.linspace(low, high, _SAMPLES)
    percent = bjontegaard.bd_rate(
        10 ** _pchip(quality_a, rate_a, grid),
        grid,
        10 ** _pchip(quality_t, rate_t, grid),
        grid,
        method="pchip",
    )
    return BDRate(float(percent), float(low), float(high))


def mean_bd_rate(
    anchor: Sequence[Row], test: Sequence[Row], bpp: BppRange, metric: Metric = "psnr"
) -> float | None:
    """Mean over the images of each image's own BD-rate; None where no image has one."""
    ours, theirs = _by_image(test), _by_image(anchor)
    found = [bd_rate(mean_curve(theirs[i]), mean_curve(ours[i]), bpp, metric) for i in sorted(ours)]
    values = [bd.percent for bd in found if bd]
    return statistics.fmean(values) if values else None


def by_codec(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each codec, in the order in which the codecs appear."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.codec].append(row)
    return dict(groups)


def compare(rows: Sequence[Row], anchor: str) -> list[Comparison]:
    """Every codec against `anchor`, in both metrics and all rate ranges."""
    groups = by_codec(rows)
    return [
        Comparison(
            codec=name,
            anchor=anchor,
            metric=metric,
            bpp=bpp,
            mean_curve=bd_rate(mean_curve(groups[anchor]), mean_curve(group), bpp, metric),
            mean_of_images=mean_bd_rate(groups[anchor], group, bpp, metric),
        )
        for name, group in groups.items()
        for metric in METRIC_LABELS
        for bpp in BPP_RANGES
    ]


def bd_table(comparisons: Sequence[Comparison], labels: Mapping[str, str]) -> str:
    """Markdown: one line per codec; cells are mean curve / mean of the images' own, in percent."""
    heads = [
        f"{'PSNR' if metric == 'psnr' else 'MS-SSIM'} {low:g}-{high:g} bpp"
        for metric in METRIC_LABELS
        for low, high in BPP_RANGES
    ]
    lines = [
        f"| BD-rate vs {labels[comparisons[0].anchor]} | " + " | ".join(heads) + " |",
        "|---" * (len(heads) + 1) + "|",
    ]
    cells: dict[str, list[str]] = defaultdict(list)
    for comparison in comparisons:
        cells[comparison.codec].append(_bd_cell(comparison))
    lines += [f"| {labels[name]} | " + " | ".join(row) + " |" for name, row in cells.items()]
    return "\n".join(lines)


def curve_table(rows: Sequence[Row], labels: Mapping[str, str]) -> str:
    """Markdown: one line per codec and quality with the means of its mean curve."""
    lines = ["| codec | quality | bpp | PSNR, dB | MS-SSIM |", "|---|---|---|---|---|"]
    for name, group in by_codec(rows).items():
        curve = mean_curve(group)
        for q, bpp, psnr, ms_ssim in zip(
            curve.quality, curve.bpp, curve.psnr, curve.ms_ssim, strict=True
        ):
            lines.append(f"| {labels[name]} | {q:g} | {bpp:.4f} | {psnr:.3f} | {ms_ssim:.5f} |")
    return "\n".join(lines)


def plot(rows: Sequence[Row], labels: Mapping[str, str], path: Path, title: str) -> None:
    """Mean curves, PSNR and MS-SSIM side by side, as SVG or PNG by the suffix of `path`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingError("plots need matplotlib: pip install 'pliant[eval]'") from error
    figure = Figure(figsize=(13, 6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    _draw(left, rows, labels, "psnr")
    _draw(right, rows, labels, "ms_ssim")
    left.legend()
    figure.savefig(path, dpi=130)


def _draw(axes: Axes, rows: Sequence[Row], labels: Mapping[str, str], metric: Metric) -> None:
    for name, group in by_codec(rows).items():
        curve = mean_curve(group)
        wide = 2.5 if name.startswith("pliant") else 1.2
        axes.plot(curve.bpp, curve.values(metric), "o-", ms=3, lw=wide, label=labels[name])
    ticks = [0.05, 0.1, 0.2, 0.5, 1, 2, 4]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("bits of the file per pixel")
    axes.set_ylabel(METRIC_LABELS[metric])
    axes.grid(alpha=0.3)


def _bd_cell(comparison: Comparison) -> str:
    if comparison.mean_curve is None or comparison.mean_of_images is None:
        return "-"
    return f"{comparison.mean_curve.percent:+.1f} / {comparison.mean_of_images:+.1f}"


def _by_image(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.image].append(row)
    return groups


_Vector: TypeAlias = npt.NDArray[np.float64]


def _rising(curve: Curve, metric: Metric) -> tuple[_Vector, _Vector]:
    """(metric, log10 bpp) of the points that improve on every cheaper one."""
    values = np.asarray(curve.values(metric))
    better = np.concatenate(([True], values[1:] > np.maximum.accumulate(values)[:-1]))
    better &= np.isfinite(values)
    return values[better], np.log10(np.asarray(curve.bpp)[better])


def _pchip(x: _Vector, y: _Vector, at: _Vector) -> _Vector:
    from scipy.interpolate import PchipInterpolator

    return np.asarray(PchipInterpolator(x, y)(at), np.float64)
