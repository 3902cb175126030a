"""The pictures of `variable_rate.py`: rate at equal PSNR against one model per rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from variable_rate_jobs import ABLATED, ABLATION, COMPETITORS, SYSTEMS

Models = Mapping[str, Mapping[str, Any]]
_SAMPLES = 200


def draw(models: Models, title: str, path: Path) -> None:
    """Curves of both systems, then the ablation, then the competitors.

    Args:
        models: of one set of photos, as in the result file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.6), layout="constrained")
    curves, ablation, others = figure.subplots(1, 3)
    for number, system in enumerate(s for s in SYSTEMS if f"{s}-single" in models):
        for kind, marks in (("single", "o--"), ("vbr", ".-")):
            bpp, psnr = _columns(models, f"{system}-{kind}")
            label = (
                f"{system} hyperprior, {'one model per rate' if kind == 'single' else 'one model'}"
            )
            curves.plot(bpp, psnr, marks, color=f"C{number}", label=label)
    curves.set_xscale("log")
    curves.set_xlabel("bits per pixel of the file")
    curves.set_ylabel("PSNR (RGB), dB")
    curves.set_title(title)
    _differences(ablation, models, [*ABLATION, "vbr"], f"parts and schemes ({ABLATED} hyperprior)")
    _differences(others, models, [*COMPETITORS, "random", "vbr"], "methods, one level per step")
    for axes in (curves, ablation, others):
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def _differences(axes: Any, models: Models, names: Sequence[str], title: str) -> None:
    """Rate over that of one model per rate, at equal PSNR."""
    for name in names:
        key = f"{ABLATED}-{name}"
        if key in models:
            psnr, percent = _difference(models, f"{ABLATED}-single", key)
            bd = models[key]["bd_rate"][0]
            axes.plot(psnr, percent, label=f"{name.replace('-', ' ')} ({bd:+.1f} %)")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("PSNR (RGB), dB")
    axes.set_ylabel("rate against one model per rate, %")
    axes.set_title(title)


def _difference(
    models: Models, reference: str, test: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    (rate_r, psnr_r), (rate_t, psnr_t) = (_columns(models, name) for name in (reference, test))
    grid = np.linspace(max(psnr_r[0], psnr_t[0]), min(psnr_r[-1], psnr_t[-1]), _SAMPLES)
    ours, theirs = (
        PchipInterpolator(psnr, np.log(rate))(grid)
        for rate, psnr in ((rate_t, psnr_t), (rate_r, psnr_r))
    )
    return grid, 100 * np.expm1(ours - theirs)


def _columns(models: Models, name: str) -> NDArray[np.float64]:
    """(2, points): bits per pixel and PSNR, rising."""
    return np.array(models[name]["curve"]).T
