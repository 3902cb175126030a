"""The pictures of `variable_rate.py`: rate at equal PSNR against one model per rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curve_axes import columns, difference, label_curves, label_difference
from variable_rate_jobs import ABLATED, ABLATION, COMPETITORS, SYSTEMS

KINDS = {"single": "one model per rate", "vbr": "one model", "long": "one model, trained longer"}

Models = Mapping[str, Mapping[str, Any]]


def draw(models: Models, title: str, path: Path) -> None:
    """Curves of both systems, then the ablation, then the competitors.

    Args:
        models: of one set of photos, as in the result file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.6), layout="constrained")
    curves, ablation, others = figure.subplots(1, 3)
    for number, system in enumerate(s for s in SYSTEMS if f"{s}-single" in models):
        for (kind, what), marks in zip(KINDS.items(), ("o--", ".:", ".-"), strict=True):
            if f"{system}-{kind}" in models:
                bpp, psnr = columns(models[f"{system}-{kind}"]["curve"])
                name = f"{system} hyperprior, {what}"
                curves.plot(bpp, psnr, marks, color=f"C{number}", label=name)
    label_curves(curves, title)
    _differences(
        ablation, models, [*ABLATION, "vbr", "long"], f"parts and schemes ({ABLATED} hyperprior)"
    )
    _differences(others, models, [*COMPETITORS, "random"], "methods, one level per step")
    for axes in (curves, ablation, others):
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def _differences(axes: Any, models: Models, names: Sequence[str], title: str) -> None:
    """Rate over that of one model per rate, at equal PSNR."""
    for name in names:
        key = f"{ABLATED}-{name}"
        if key in models:
            psnr, percent = difference(models[f"{ABLATED}-single"]["curve"], models[key]["curve"])
            bd = models[key]["bd_rate"][0]
            summary = "" if bd is None else f" ({bd:+.1f} %)"
            axes.plot(psnr, percent, label=name.replace("-", " ") + summary)
    label_difference(axes, "one model per rate", title)
