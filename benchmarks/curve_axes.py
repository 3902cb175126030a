"""What the plots of trainings share: curves as columns, and rates at equal PSNR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

_SAMPLES = 200
_TICKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6)  # bits per pixel
_FARTHEST = 60.0  # percent that are shown

Points = Sequence[Sequence[float]]


def columns(points: Points) -> NDArray[np.float64]:
    """(2, points): bits per pixel and PSNR, as in a result file, where PSNR rises."""
    rate, psnr = np.array(points, np.float64).T[:2]
    better = psnr > np.maximum.accumulate(np.concatenate(([-np.inf], psnr[:-1])))
    return np.stack((rate[better], psnr[better]))


def difference(reference: Points, test: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PSNR values that both curves reach, and the rate of one over the other there, in percent.

    Both are empty where the curves do not meet.
    """
    (_, psnr_r), (_, psnr_t) = columns(reference), columns(test)
    low, high = max(psnr_r[0], psnr_t[0]), min(psnr_r[-1], psnr_t[-1])
    if low >= high:
        return np.empty(0), np.empty(0)
    grid = np.linspace(low, high, _SAMPLES)
    return grid, 100 * np.expm1(_log_rate(test, grid) - _log_rate(reference, grid))


def away(reference: Points, test: Points) -> NDArray[np.float64]:
    """Rate of each point over that of the reference at its PSNR, %; NaN beyond the ends."""
    rate, psnr = np.array(test, np.float64).T[:2]
    known = columns(reference)[1]
    if len(known) < 2:
        return np.full(len(psnr), np.nan)
    inside = np.where((psnr >= known[0]) & (psnr <= known[-1]), psnr, np.nan)
    gap = np.log(rate) - _log_rate(reference, inside)
    return np.asarray(100 * np.expm1(gap), np.float64)


def _log_rate(points: Points, psnr: NDArray[np.float64]) -> NDArray[np.float64]:
    rate, known = columns(points)
    return np.asarray(PchipInterpolator(known, np.log(rate))(psnr), np.float64)


def label_curves(axes: Any, title: str) -> None:
    """Names the axes of curves that are drawn already, with a logarithmic rate."""
    label_rate(axes)
    axes.set_ylabel("PSNR (RGB), dB")
    axes.set_title(title)


def label_rate(axes: Any) -> None:
    """Makes the rate axis logarithmic, with plain numbers."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("bits per pixel of the file")


def label_difference(axes: Any, reference: str, title: str) -> None:
    """Names the axes of rates over those of a reference; what is far from it is cut off."""
    axes.axhline(0, color="black", linewidth=0.8)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -_FARTHEST), min(high, _FARTHEST))
    axes.set_xlabel("PSNR (RGB), dB")
    axes.set_ylabel(f"rate against {reference}, %")
    axes.set_title(title)
