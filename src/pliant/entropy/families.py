"""Probability masses of the published priors, from which integer tables are made (numpy only).

Their symbols are counted from a real mean, so a table needs no means: a Gaussian of each of 64
scales, and one table for each channel of a learnt density.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pliant.entropy.tables import TOTAL, Array

GAUSSIANS = 64
SMALLEST_SCALE, LARGEST_SCALE = 0.11, 256.0
SCALE_RATIO = (LARGEST_SCALE / SMALLEST_SCALE) ** (1 / (GAUSSIANS - 1))  # 1.1309


def gaussian_scale(index: npt.ArrayLike) -> Array:
    """Standard deviation, in quantiser steps, of each scale index: 0.11 at 0, 256 at 63."""
    scale: Array = SMALLEST_SCALE * SCALE_RATIO ** np.asarray(index, np.float64)
    return scale


def gaussian_masses() -> list[Array]:
    """Masses of the symbols of every scale, for `Tables.listed`."""
    return [_gaussian(float(gaussian_scale(index))) for index in range(GAUSSIANS)]


def folded(mass: Array, tails: float) -> Array:
    """Masses of -R, ..., R in zigzag order, with the escape's last; rare ends join the escape.

    Args:
        mass: float64 [2 R + 1].
        tails: mass of everything beyond, which may be 0.
    """
    centre = len(mass) // 2
    pairs = mass[:centre][::-1] + mass[centre + 1 :]
    # Where two symbols together would get less than one count, escapes are no dearer.
    kept = max(1, int((pairs * TOTAL >= 1).nonzero()[0].max(initial=-1)) + 1)
    zigzag = np.arange(2 * kept + 1)
    residual = (zigzag >> 1) ^ -(zigzag & 1)
    listed = np.append(mass[centre + residual], float(pairs[kept:].sum()) + tails)
    listed[0] = max(listed[0], 3 / TOTAL)  # the coder wants a centre, even of a density with a gap
    return listed


def _gaussian(scale: float) -> Array:
    radius = math.ceil(6.5 * scale + 1)
    edges = (np.arange(radius + 1) + 0.5) / (scale * math.sqrt(2))
    above = np.array([0.5 * math.erfc(edge) for edge in edges])  # mass above k + 1/2
    side = above[:-1] - above[1:]
    mass = np.concatenate((side[::-1], [1 - 2 * above[0]], side))
    return folded(mass, 2 * float(above[-1]))
