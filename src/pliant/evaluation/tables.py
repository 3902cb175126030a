"""The tables of a report: curves, Bjontegaard deltas, images, timings, as cells of text."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pliant.evaluation.curves import (
    BPP_RANGES,
    BDRate,
    Comparison,
    Curve,
    Metric,
    bd_rate,
    by_codec,
    lower_is_better,
    mean_curve,
    metric_label,
    range_label,
)
from pliant.evaluation.document import Table
from pliant.evaluation.metrics import METRICS
from pliant.evaluation.published import PublishedCurve
from pliant.evaluation.set_distances import SetDistance
from pliant.evaluation.table import Row

NONE = "–"


def percent(delta: BDRate | None) -> str:
    """A BD-rate as a cell."""
    return f"{delta.percent:+.1f}" if delta else NONE


def value(metric: Metric, number: float) -> str:
    """A metric's value with as many decimals as it deserves."""
    known = METRICS.get(metric)
    return f"{number:.{2 if known and known.unit == 'dB' else 4}f}"


def mean_curves(curves: Mapping[str, Curve], metrics: Sequence[Metric]) -> Table:
    """One line per codec and quality."""
    lines = [
        [name, f"{quality:g}", f"{bpp:.4f}"]
        + [value(metric, curve.metrics[metric][point]) for metric in metrics]
        for name, curve in curves.items()
        for point, (quality, bpp) in enumerate(zip(curve.quality, curve.bpp, strict=True))
    ]
    head = ["codec", "quality", "bpp", *map(metric_label, metrics)]
    return Table(head, lines, summary="Mean curves: every codec and quality")


def set_distances(found: Sequence[SetDistance]) -> Table:
    """One line per codec and quality, of one distance."""
    lines = [[d.codec, f"{d.quality:g}", f"{d.bpp:.4f}", f"{d.value:.4g}"] for d in found]
    head = ["codec", "quality", "bpp", metric_label(found[0].name)]
    return Table(head, lines, summary="Every codec and quality")


def bd_summary(comparisons: Sequence[Comparison], metric: Metric) -> Table:
    """One line per codec, one column per range: mean curve / mean of the images' own.

    The second figure says of how many images it is, where not all have one.
    """
    lines: dict[str, list[str]] = defaultdict(list)
    for entry in comparisons:
        if entry.metric == metric and entry.codec != entry.anchor:
            own = NONE if entry.mean_of_images is None else f"{entry.mean_of_images:+.1f}"
            part = f" ({entry.images}/{entry.total})" if 0 < entry.images < entry.total else ""
            lines[entry.codec].append(f"{percent(entry.mean_curve)} / {own}{part}")
    head = [f"BD-rate, %, vs {comparisons[0].anchor}", *map(range_label, BPP_RANGES)]
    return Table(head, [[name, *cells] for name, cells in lines.items()])


def bd_details(comparisons: Sequence[Comparison], metric: Metric) -> Table:
    """One line per codec and range with the intervals and the delta of the metric."""
    known = METRICS.get(metric)
    unit = "dB" if metric == "ms_ssim" or (known and known.unit == "dB") else ""
    rows = [c for c in comparisons if c.metric == metric and c.codec != c.anchor]
    lines = []
    for entry in rows:
        curve, quality, own = entry.mean_curve, entry.quality, entry.mean_of_images
        lines.append(
            [
                f"{entry.codec}, {range_label(entry.bpp)}",
                percent(curve),
                _interval(metric, curve) if curve else NONE,
                f"{own:+.1f} ({entry.images})" if own is not None else NONE,
                f"{quality.difference:+.{2 if unit else 4}f}" if quality else NONE,
                f"{quality.low:.3f}-{quality.high:.3f}" if quality else NONE,
            ]
        )
    head = [
        "codec, range",
        "BD-rate, %",
        "over" + (f", {unit}" if unit else ""),
        "images' own, % (images)",
        f"BD-{known.label if known else metric}" + (f", {unit}" if unit else ""),
        "over, bpp",
    ]
    return Table(head, lines, summary="Intervals and deltas of the metric")


def _interval(metric: Metric, delta: BDRate) -> str:
    ends = (-delta.high, -delta.low) if lower_is_better(metric) else (delta.low, delta.high)
    decimals = 3 if lower_is_better(metric) else 2
    return f"{ends[0]:.{decimals}f}-{ends[1]:.{decimals}f}"


def bd_matrix(curves: Mapping[str, Curve], metric: Metric) -> Table:
    """BD-rate of the codec of the line against that of the column, over all that both span."""
    lines = [
        [name, *(percent(bd_rate(anchor, curve, None, metric)) for anchor in curves.values())]
        for name, curve in curves.items()
    ]
    return Table(["BD-rate, %, vs", *curves], lines)


def bd_published(curves: Mapping[str, Curve], anchors: Sequence[PublishedCurve]) -> Table:
    """BD-rate of every codec against published curves, over all that both span."""
    lines = [
        [name, *(percent(bd_rate(a.curve, curve, None, a.metric)) for a in anchors)]
        for name, curve in curves.items()
    ]
    return Table(["BD-rate, %, vs published", *(anchor.label for anchor in anchors)], lines)


def sources(curves: Sequence[PublishedCurve]) -> Table:
    """One line per published curve: where it comes from and what to know."""
    lines = [[curve.label, curve.source, curve.protocol, curve.caveat or NONE] for curve in curves]
    head = ["published curve", "source", "protocol", "caveat"]
    return Table(head, lines, summary="Sources of the published curves")


def images(own: Mapping[str, Mapping[str, BDRate]]) -> Table:
    """One line per codec: where its own BD-rate against the anchor is best and worst."""
    lines = []
    for name, deltas in own.items():
        if not deltas:
            continue
        order = sorted(deltas, key=lambda image: deltas[image].percent)
        values = [delta.percent for delta in deltas.values()]
        spread = f"{statistics.pstdev(values):.1f}"
        ends = [f"{image} {deltas[image].percent:+.1f}" for image in (order[0], order[-1])]
        lines.append([name, *ends, f"{statistics.median(values):+.1f}", spread])
    return Table(["codec", "best image", "worst image", "median", "standard deviation"], lines)


def per_image(own: Mapping[str, Mapping[str, BDRate]]) -> Table:
    """One line per image, one column per codec."""
    names = sorted({image for deltas in own.values() for image in deltas})
    lines = [[image, *(percent(deltas.get(image)) for deltas in own.values())] for image in names]
    return Table(["BD-rate, %", *own], lines, summary="Every image")


def timings(rows: Sequence[Row], anchor: str) -> Table:
    """One line per codec: median seconds per megapixel, and as ratios to the anchor's."""
    medians = {name: _medians(group) for name, group in by_codec(rows).items()}
    base = medians.get(anchor, (math.nan, math.nan))
    lines = []
    for name, group in by_codec(rows).items():
        encode, decode = medians[name]
        memory = max(row.peak_memory for row in group)
        lines.append(
            [
                name,
                _seconds(encode),
                _ratio(encode, base[0]),
                _seconds(decode),
                _ratio(decode, base[1]),
                f"{memory:.0f}" if memory else NONE,
                "-".join(str(n) for n in sorted({row.workers for row in group})),
                str(len(group)),
            ]
        )
    head = [
        "codec",
        "encode, s/MP",
        f"vs {anchor}",
        "decode, s/MP",
        f"vs {anchor}",
        "peak memory, MiB",
        "workers",
        "rows",
    ]
    return Table(head, lines)


def _medians(rows: Sequence[Row]) -> tuple[float, float]:
    """Encode and decode seconds per megapixel; not-a-number where nothing was timed."""
    columns = (
        [getattr(row, column) / (row.width * row.height / 1e6) for row in rows]
        for column in ("encode_seconds", "decode_seconds")
    )
    encode, decode = (statistics.median(column) or math.nan for column in columns)
    return encode, decode


def _seconds(number: float) -> str:
    return NONE if math.isnan(number) else f"{number:.3g}"


def _ratio(number: float, base: float) -> str:
    ratio = number / base
    return NONE if math.isnan(ratio) else f"×{ratio:.3g}"


def codec_list(rows: Sequence[Row], notes: Mapping[str, str]) -> Table:
    """One line per codec: version, how many qualities, the rates they span, what to know."""
    lines = []
    for name, group in by_codec(rows).items():
        versions = " and ".join(dict.fromkeys(row.version for row in group))
        qualities = len({row.quality for row in group})
        rates = f"{min(r.bpp for r in group):.2f}-{max(r.bpp for r in group):.2f}"
        kind = "" if any(row.metrics for row in group) else "timing only"
        said = "; ".join(filter(None, (kind, notes.get(name))))
        lines.append([name, versions, str(qualities), rates, said])
    return Table(["codec", "version", "qualities", "bpp of single images", "notes"], lines)


def curve_means(rows: Sequence[Row]) -> dict[str, Curve]:
    """The mean curve of each codec."""
    return {name: mean_curve(group) for name, group in by_codec(rows).items()}
