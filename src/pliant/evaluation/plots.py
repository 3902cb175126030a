"""Rate-distortion plots: measured curves solid, published ones dashed, every one in the legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pliant.errors import MissingError
from pliant.evaluation.curves import Curve, Metric, lower_is_better, metric_label
from pliant.evaluation.document import INK, PAPER
from pliant.files import output_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4, 8, 16)
# Readable on light and on dark pages, and told apart by readers who see no red or no green.
_COLOURS = ("#d55e00", "#0072d2", "#009e73", "#cc79a7", "#b58900", "#7a5fd0", "#2aa9c9", "#8a8f98")
_MARKERS = "osD^vP*X<>hd"
_DASHES = ((4, 2), (1, 1.5), (6, 2, 1, 2), (8, 3), (3, 1, 1, 1, 1, 1))
_WIDTH, _HEIGHT, _ENTRY_HEIGHT = 6.2, 4.4, 0.27  # inches; the legend's lines come on top
_FONT_SIZE = 12


@dataclass(frozen=True)
class Line:
    """One curve of a plot and its name in the legend."""

    label: str
    curve: Curve
    published: bool = False


def rate_distortion(
    lines: Sequence[Line], metric: Metric, path: Path, title: str, *, log_rate: bool
) -> None:
    """Draws the metric over bits per pixel, as SVG or PNG by the suffix of `path`.

    MS-SSIM is drawn in dB; the axis of a distance points down, so that better is always higher.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingError("plots need matplotlib: pip install 'pliant[eval]'") from error
    import matplotlib

    measured = [line for line in lines if not line.published]
    published = [line for line in lines if line.published]
    # Beside the published curves there is room for one column of measured ones.
    columns = 1 if published else 2
    entries = max(-(-len(measured) // columns), len(published)) + 1.5
    heights = (_HEIGHT, _ENTRY_HEIGHT * entries)
    # The salt keeps the ids in an SVG equal from run to run.
    with matplotlib.rc_context(
        {
            "text.color": INK,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.facecolor": PAPER,
            "font.size": _FONT_SIZE,
            "svg.hashsalt": "pliant",
            "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
            "svg.fonttype": "none",  # text, not outlines: half the bytes, and it can be searched
        }
    ):
        size = (_WIDTH, sum(heights))
        figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
        axes, below = figure.subplots(2, 1, height_ratios=heights)
        below.axis("off")
        _legend(below, "measured", _draw(axes, measured, metric), "upper left", columns)
        if published:
            _legend(below, "published", _draw(axes, published, metric), "upper right", 1)
        _frame(axes, [line.curve for line in measured], metric, log_rate)
        axes.set_title(title, fontsize=_FONT_SIZE, parse_math=False)
        _save(figure, path)


def _legend(
    axes: Axes,
    title: str,
    entries: Sequence[Line2D],
    location: Literal["upper left", "upper right"],
    columns: int,
) -> None:
    from matplotlib.legend import Legend

    # `Axes.legend` would replace the one before.
    legend = Legend(
        axes,
        entries,
        [str(entry.get_label()) for entry in entries],
        title=title,
        loc=location,
        ncols=columns,
        fontsize=_FONT_SIZE - 1,
        frameon=False,
        alignment="left",
        borderaxespad=0,
    )
    axes.add_artist(legend)


def _draw(axes: Axes, lines: Sequence[Line], metric: Metric) -> list[Line2D]:
    drawn: list[Line2D] = []
    for number, line in enumerate(lines):
        x, y = line.curve.bpp, _shown(line.curve, metric)
        colour = _COLOURS[(-1 - number if line.published else number) % len(_COLOURS)]
        if line.published:
            dashes = _DASHES[number % len(_DASHES)]
            drawn += axes.plot(x, y, dashes=dashes, lw=1.3, color=colour, label=line.label)
        else:
            marker = _MARKERS[number % len(_MARKERS)]
            wide = 2.6 if line.label.lower().startswith("pliant") else 1.4
            drawn += axes.plot(x, y, marker=marker, ms=4, lw=wide, color=colour, label=line.label)
    return drawn


def _shown(curve: Curve, metric: Metric) -> list[float]:
    sign = -1 if lower_is_better(metric) else 1
    return [sign * value for value in curve.values(metric)]


def _frame(axes: Axes, measured: Sequence[Curve], metric: Metric, log_rate: bool) -> None:
    """What was measured sets the frame; published curves may run out of it."""
    values = [v for curve in measured for v in _shown(curve, metric) if math.isfinite(v)]
    if values:
        margin = 0.04 * (max(values) - min(values)) or 1
        axes.set_ylim(min(values) - margin, max(values) + margin)
    if lower_is_better(metric):
        axes.invert_yaxis()
    axes.set_ylabel(metric_label(metric) + (", dB" if metric == "ms_ssim" else ""))
    low = min(min(curve.bpp) for curve in measured)
    high = max(max(curve.bpp) for curve in measured)
    if log_rate:
        low, high = low / 1.15, high * 1.15
        ticks = [tick for tick in _TICKS if low <= tick <= high]
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    else:
        low, high = 0, high * 1.03
    axes.set_xlim(low, high)
    axes.set_xlabel("bits of the file per pixel" + (" (log scale)" if log_rate else ""))
    axes.grid(alpha=0.3)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with output_file(path, force=True) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=150, metadata=metadata)
