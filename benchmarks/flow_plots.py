"""The pictures of `flows.py`: one for each system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curve_axes import Points, columns, difference, label_curves, label_difference, label_rate
from flow_jobs import EXACT, FLOAT, RIVALS, SINGLES, TWELVE

Found = Mapping[str, Any]
Names = Mapping[str, tuple[str, str]]

# Label and style of each curve.
MSINN: Names = {
    EXACT: ("8 anchors, exact context", "C0.-"),
    TWELVE: ("12 anchors, exact context", "C1.-"),
    FLOAT: ("8 anchors, float context", "C2.-"),
    **{family: (f"{family}, one model per rate", f"C{n}o--") for n, family in enumerate(RIVALS, 3)},
}
ILC: Names = {
    "ilc-teacher": ("teacher", "C7o--"),
    "ilc-student": ("student", "C0.-"),
    "ilc-teacher-longer": ("teacher, twice the steps", "C8o--"),
    "ilc-student-longer": ("student, twice the steps", "C4.-"),
    "ilc-teacher-longest": ("teacher, three times the steps", "C6o--"),
    "ilc-student-kept": ("student, three times, what it drops counted", "C9.-"),
    "ilc-teacher-noisy": ("teacher trained on with noise", "C5o--"),
    "ilc-unmixed": ("without 1x1 convolutions", "C1s-"),
    "ilc-undistilled": ("without distillation", "C2^-"),
    "ilc-early": ("of a teacher stopped early", "C3D"),
    "ilc-teacher-early": ("that teacher", "C7D"),
}
assert set(SINGLES) == set(RIVALS) | ILC.keys()


def draw_msinn(found: Found, title: str, path: Path) -> None:
    """Curves, rates against the model with the exact context, and rates between anchors.

    Args:
        found: of one set of photos, as in the result file.
    """
    figure, (curves, against, between) = _figure(3)
    _curves(curves, found, MSINN, f"MSINN, small: {title}")
    _differences(against, found, EXACT, MSINN, "against one flow with the exact context")
    for name, points in found["between"].items():
        rate, away = [p[0] for p in points], [p[2] for p in points]
        label, style = MSINN[name]
        between.plot(rate, away, style, label=label)
    between.axhline(0, color="black", linewidth=0.8)
    label_rate(between)
    between.set_ylabel("rate against the curve through anchors, %")
    between.set_title("halfway between anchors")
    _save(figure, path)


def draw_ilc(found: Found, title: str, path: Path) -> None:
    """Curves, rates against the teacher, and what rounding costs.

    Args:
        found: of one set of photos, as in the result file.
    """
    figure, (curves, against, rounding) = _figure(3)
    _curves(curves, found, ILC, f"ILC, small: {title}")
    _differences(against, found, "ilc-teacher", ILC, "against the teacher")
    for name, records in found["unrounded"].items():
        if records:
            label, style = ILC[name]
            rate, psnr, plain = zip(*records, strict=True)
            rounding.plot(rate, psnr, style, label=label)
            rounding.plot(rate, plain, style, alpha=0.45)
    label_curves(rounding, "what rounding costs (pale: latent not rounded)")
    _save(figure, path)


def _figure(panels: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * panels, 5.2), layout="constrained")
    return figure, figure.subplots(1, panels)


def _curves(axes: Any, found: Found, names: Names, title: str) -> None:
    for name, (label, style) in names.items():
        if name in found["curves"]:
            axes.plot(*columns(found["curves"][name]), style, label=label)
    label_curves(axes, title)


def _differences(axes: Any, found: Found, reference: str, names: Names, title: str) -> None:
    curves: Mapping[str, Points] = found["curves"]
    for name, (label, style) in names.items():
        if name != reference and {name, reference} <= curves.keys():
            psnr, percent = difference(curves[reference], curves[name])
            if len(psnr):
                axes.plot(psnr, percent, style[:2], label=label)
    label_difference(axes, names[reference][0], title)


def _save(figure: Any, path: Path) -> None:
    labelled: dict[str, Any] = {}  # the panels share their names and styles
    for axes in figure.axes:
        axes.grid(alpha=0.3, which="both")
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            labelled.setdefault(label, handle)
    if labelled:
        figure.legend(labelled.values(), labelled, loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(path, dpi=110)
