"""Rate-distortion curves from rows, and the Bjontegaard deltas between them."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pliant.errors import MissingError
from pliant.evaluation.distances import DISTANCES
from pliant.evaluation.metrics import METRICS, ms_ssim_db
from pliant.evaluation.table import Row

Metric: TypeAlias = str
# Between two rates of the anchor, in bpp; None is everything that both curves span.
BppRange: TypeAlias = "tuple[float, float] | None"
_Vector: TypeAlias = npt.NDArray[np.float64]

BPP_RANGES: tuple[BppRange, ...] = (None, (0.1, 1.0), (1.0, 4.0), (0.1, 0.5))
# The curves are resampled this densely inside the common interval, so that cutting them there does
# not change their interpolation.
_SAMPLES = 500


def metric_label(metric: Metric) -> str:
    """The words for a metric or a distance of sets; an unknown name stands for itself."""
    known = METRICS.get(metric)
    if known is None:
        return DISTANCES[metric].label if metric in DISTANCES else metric
    return f"{known.label}, {known.unit}" if known.unit else known.label


def lower_is_better(metric: Metric) -> bool:
    """Whether the metric is a distance."""
    known = METRICS.get(metric)
    return metric in DISTANCES if known is None else not known.higher_is_better


def range_label(bpp: BppRange) -> str:
    """The words for a rate range in tables."""
    return "whole range" if bpp is None else f"{bpp[0]:g}-{bpp[1]:g} bpp"


@dataclass(frozen=True)
class Curve:
    """Rate and quality of one codec, on one image or as means over several; by rising bpp.

    Attributes:
        bpp: bits of the file per pixel.
        metrics: values of each metric that every point has.
        quality: the codec's own setting of each point, where it is known.
    """

    bpp: tuple[float, ...]
    metrics: Mapping[Metric, tuple[float, ...]]
    quality: tuple[float, ...] = ()

    @property
    def psnr(self) -> tuple[float, ...]:
        """Over RGB, in dB."""
        return self.metrics["psnr"]

    @property
    def ms_ssim(self) -> tuple[float, ...]:
        """0..1."""
        return self.metrics["ms_ssim"]

    def values(self, metric: Metric) -> tuple[float, ...]:
        """The metric such that more is better: MS-SSIM in dB, distances negated."""
        values = self.metrics[metric]
        if metric == "ms_ssim":
            return tuple(map(ms_ssim_db, values))
        return tuple(-value for value in values) if lower_is_better(metric) else values


@dataclass(frozen=True)
class BDRate:
    """Mean difference in rate over the interval [low, high] of the metric; negative saves bits.

    The interval is in the units of `Curve.values`.
    """

    percent: float
    low: float
    high: float


@dataclass(frozen=True)
class BDQuality:
    """Mean difference in a metric over the rates [low, high], in bpp; positive is better.

    BD-PSNR where the metric is PSNR; the units are those of `Curve.values`.
    """

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """One codec against an anchor in one metric over one range of the anchor's rate.

    Attributes:
        mean_of_images: mean of the images' own BD-rates in percent, over the `images` of `total`
            images whose curves meet.
    """

    codec: str
    anchor: str
    metric: Metric
    bpp: BppRange
    mean_curve: BDRate | None
    mean_of_images: float | None
    images: int
    total: int
    quality: BDQuality | None


# --- rows to curves -----------------------------------------------------------------------------


def measured(rows: Iterable[Row]) -> list[Row]:
    """The rows with metrics; the others were only timed."""
    return [row for row in rows if row.metrics]


def by_codec(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each codec, in the order in which the codecs appear."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.codec].append(row)
    return dict(groups)


def by_image(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each image, in the order of their names."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.image].append(row)
    return dict(sorted(groups.items()))


def complete(rows: Iterable[Row]) -> list[Row]:
    """The rows of the images that every codec has at all of its qualities.

    What was left out of a run that was cut short would otherwise bend the means.
    """
    rows = list(rows)
    kept = {row.image for row in rows}
    for group in by_codec(rows).values():
        qualities = {row.quality for row in group}
        whole = {name for name, own in by_image(group).items() if len(own) == len(qualities)}
        kept &= whole
    return [row for row in rows if row.image in kept]


def mean_curve(rows: Sequence[Row]) -> Curve:
    """Means of bpp and of every metric over the images, quality by quality.

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
        (statistics.fmean(row.bpp for row in group), quality)
        for quality, group in by_quality.items()
    )
    return Curve(
        bpp=tuple(bpp for bpp, _ in points),
        metrics={
            name: tuple(
                statistics.fmean(row.metrics[name] for row in by_quality[quality])
                for _, quality in points
            )
            for name in common_metrics(rows)
        },
        quality=tuple(quality for _, quality in points),
    )


def common_metrics(rows: Sequence[Row]) -> list[Metric]:
    """The metrics that every row has, in the order of the first row."""
    return [name for name in rows[0].metrics if all(name in row.metrics for row in rows)]


# --- Bjontegaard deltas -------------------------------------------------------------------------


def bd_rate(
    anchor: Curve, test: Curve, bpp: BppRange = None, metric: Metric = "psnr"
) -> BDRate | None:
    """Bjontegaard delta rate of `test` against `anchor` by PCHIP (log rate over the metric).

    The interval is what the anchor spans between the two rates, as far as the test reaches it;
    None where they do not meet.
    """
    ours, theirs = _rising(test, metric), _rising(anchor, metric)
    if ours is None or theirs is None:
        return None
    (quality_t, rate_t), (quality_a, rate_a) = ours, theirs
    low, high = quality_a[0], quality_a[-1]
    if bpp is not None:
        low, high = _pchip(rate_a, quality_a, np.clip(np.log10(bpp), rate_a[0], rate_a[-1]))
    low, high = max(low, quality_t[0]), min(high, quality_t[-1])
    if low >= high:
        return None
    grid = np.linspace(low, high, _SAMPLES)
    percent = _bjontegaard().bd_rate(
        10 ** _pchip(quality_a, rate_a, grid),
        grid,
        10 ** _pchip(quality_t, rate_t, grid),
        grid,
        method="pchip",
    )
    return BDRate(float(percent), float(low), float(high))


def bd_quality(
    anchor: Curve, test: Curve, bpp: BppRange = None, metric: Metric = "psnr"
) -> BDQuality | None:
    """Bjontegaard delta of the metric (BD-PSNR) by PCHIP, over the rates that both have in `bpp`.

    None where they have none in common.
    """
    ours, theirs = _rising(test, metric), _rising(anchor, metric)
    if ours is None or theirs is None:
        return None
    (quality_t, rate_t), (quality_a, rate_a) = ours, theirs
    low, high = max(rate_a[0], rate_t[0]), min(rate_a[-1], rate_t[-1])
    if bpp is not None:
        low, high = max(low, math.log10(bpp[0])), min(high, math.log10(bpp[1]))
    if low >= high:
        return None
    grid = np.linspace(low, high, _SAMPLES)
    difference = _bjontegaard().bd_psnr(
        10**grid,
        _pchip(rate_a, quality_a, grid),
        10**grid,
        _pchip(rate_t, quality_t, grid),
        method="pchip",
    )
    return BDQuality(float(difference), float(10**low), float(10**high))


def bd_of_images(
    anchor: Sequence[Row], test: Sequence[Row], bpp: BppRange = None, metric: Metric = "psnr"
) -> dict[str, BDRate]:
    """Each image's own BD-rate; images whose curves do not meet are left out."""
    theirs = by_image(anchor)
    found = {
        name: bd_rate(mean_curve(theirs[name]), mean_curve(own), bpp, metric)
        for name, own in by_image(test).items()
        if name in theirs
    }
    return {name: delta for name, delta in found.items() if delta}


def mean_bd_rate(
    anchor: Sequence[Row], test: Sequence[Row], bpp: BppRange = None, metric: Metric = "psnr"
) -> float | None:
    """Mean over the images of each image's own BD-rate; None where no image has one."""
    found = bd_of_images(anchor, test, bpp, metric).values()
    return statistics.fmean(delta.percent for delta in found) if found else None


def compare(rows: Sequence[Row], anchor: str) -> list[Comparison]:
    """Every codec against `anchor`, in the metrics that all rows have and in all rate ranges."""
    groups = by_codec(rows)
    curves = {name: mean_curve(group) for name, group in groups.items()}
    found = []
    for name, group in groups.items():
        for metric in common_metrics(rows):
            for bpp in BPP_RANGES:
                own = bd_of_images(groups[anchor], group, bpp, metric)
                found.append(
                    Comparison(
                        codec=name,
                        anchor=anchor,
                        metric=metric,
                        bpp=bpp,
                        mean_curve=bd_rate(curves[anchor], curves[name], bpp, metric),
                        mean_of_images=statistics.fmean(delta.percent for delta in own.values())
                        if own
                        else None,
                        images=len(own),
                        total=len(by_image(group)),
                        quality=bd_quality(curves[anchor], curves[name], bpp, metric),
                    )
                )
    return found


def largest_gap(curve: Curve, reference: Curve, metric: Metric = "psnr") -> float | None:
    """The largest difference in the metric between points of `curve` and `reference` at equal rate.

    The reference is interpolated by PCHIP over log rate; None where it spans none of the points. It
    tells whether a measurement agrees with an earlier or a published one that has points enough.
    """
    theirs = _rising(reference, metric)
    if theirs is None:
        return None
    quality, rate = theirs
    at, values = np.log10(curve.bpp), np.asarray(curve.values(metric))
    inside = (at >= rate[0]) & (at <= rate[-1])
    if not inside.any():
        return None
    return float(np.abs(values[inside] - _pchip(rate, quality, at[inside])).max())


def _rising(curve: Curve, metric: Metric) -> tuple[_Vector, _Vector] | None:
    """(metric, log10 bpp) of the points that improve on every cheaper one; None if less than two.

    Points of an infinite value (a lossless image) cannot be interpolated and are left out. Of equal
    rates the best counts.
    """
    values, rates = np.asarray(curve.values(metric)), np.log10(curve.bpp)
    better = np.concatenate(([True], values[1:] > np.maximum.accumulate(values)[:-1]))
    better &= np.isfinite(values)
    values, rates = values[better], rates[better]
    last = np.diff(rates, append=np.inf) > 0
    values, rates = values[last], rates[last]
    return (values, rates) if len(values) > 1 else None


def _pchip(x: _Vector, y: _Vector, at: _Vector) -> _Vector:
    from scipy.interpolate import PchipInterpolator

    return np.asarray(PchipInterpolator(x, y)(at), np.float64)


def _bjontegaard() -> ModuleType:
    try:
        import bjontegaard
    except ImportError as error:
        raise MissingError("BD-rate needs bjontegaard: pip install 'pliant[eval]'") from error
    module: ModuleType = bjontegaard
    return module
