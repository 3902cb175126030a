"""Weights of several objectives: the shortest vector in the convex hull of their gradients.

Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization" (NeurIPS 2018): its negative
improves every objective, and is zero only where none can improve without harm to another.
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

STEPS = 250
CHANGE = 1e-5  # of all weights together: where the search ends
INNER, OUTER = 0.999, 0.001  # weights where the shortest vector is at an end

NORMALISATIONS: Final = ("none", "l2", "loss", "loss+")


def pair(aa: float, ab: float, bb: float) -> float:
    """Weight of a in the shortest vector between a and b, from their inner products."""
    if ab >= aa:
        return INNER
    if ab >= bb:
        return OUTER
    return (bb - ab) / (aa + bb - 2 * ab)


def weights(gram: Vector) -> Vector:
    """Weights (K,), together 1, from inner products (K, K): Frank-Wolfe from the best pair."""
    count = len(gram)
    if count == 1:
        return np.ones(1)
    found = _best_pair(gram)
    if count == 2:
        return found
    for _ in range(STEPS):
        towards = int(np.argmin(gram @ found))
        keep = pair(
            float(found @ gram @ found),
            float(found @ gram[:, towards]),
            float(gram[towards, towards]),
        )
        moved = keep * found
        moved[towards] += 1 - keep
        if float(np.abs(moved - found).sum()) < CHANGE:
            break
        found = moved
    return found


def _best_pair(gram: Vector) -> Vector:
    best, least = np.zeros(len(gram)), np.inf
    for i, j in itertools.combinations(range(len(gram)), 2):
        candidate = np.zeros(len(gram))
        share = pair(float(gram[i, i]), float(gram[i, j]), float(gram[j, j]))
        candidate[i], candidate[j] = share, 1 - share
        norm = float(candidate @ gram @ candidate)
        if norm < least:
            best, least = candidate, norm
    return best


def scales(kind: str, losses: Vector, norms: Vector) -> Vector:
    """What each gradient is divided by before weights are found.

    Args:
        kind: "none", "l2" (its norm), "loss" (its objective) or "loss+" (both).
    """
    divisors = {
        "none": np.ones_like(losses),
        "l2": norms,
        "loss": losses,
        "loss+": losses * norms,
    }
    found: Vector = np.maximum(divisors[kind], 1e-12)
    return found
