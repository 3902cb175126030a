"""Trellis-coded quantisation from its definition, in float64 and without a thought for speed."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from pliant.entropy.trellis import SEGMENT, following, index_of, value_of
from pliant.layers.trellis import ONE

POINTS = {
    parity: np.array(sorted({0, *range(parity, 1 << 15, 2), *range(-parity, -(1 << 15), -2)}))
    for parity in (0, 1)
}  # of both quantisers, in half-steps


def laplace_mass(low: float, high: float, scale: float) -> float:
    """Of a Laplacian around 0 between two bounds; no difference cancels."""
    if low < 0 < high:
        return -0.5 * (math.expm1(low / scale) + math.expm1(-high / scale))
    near, far = sorted((abs(low), abs(high)))
    return -0.5 * math.exp(-near / scale) * math.expm1((near - far) / scale)


def laplace_bits(low: float, high: float, scale: float) -> float:
    """-log2 of `laplace_mass`, also where that is too small for a float."""
    if low < 0 < high:
        return -math.log2(laplace_mass(low, high, scale))
    near, far = sorted((abs(low), abs(high)))
    nats = near / scale - math.log(-math.expm1((near - far) / scale)) + math.log(2)
    return nats / math.log(2)


def cell(value: int, second: bool, mean: float) -> tuple[float, float]:
    """Bounds, in steps: the middles between a quantiser's points.

    Around a mean (in 1/16 steps) of a step and more, the second quantiser is a regular one: its
    zero moves half a step away from the mean, and so do all points on that side.
    """
    if second and abs(mean) >= 16:
        index = index_of(value, 1)
        return (index - 1, index) if mean > 0 else (index, index + 1)
    points = POINTS[int(second)]
    at = int(np.searchsorted(points, value))
    assert points[at] == value
    below, above = int(points[at - 1]), int(points[at + 1])
    return (below + value) / 4, (value + above) / 4


@functools.lru_cache(maxsize=1 << 18)
def value_bits(value: int, second: bool, mean: float, index: float) -> float:
    """Ideal cost of a value under a Laplacian of this mean and table index."""
    low, high = cell(value, second, mean)
    return laplace_bits(low - mean / 16, high - mean / 16, 2 ** (index / 5 - 4.5))


def place(value: int) -> float:
    """Where a value lies, in half-steps."""
    return value * ONE if abs(value) == 1 else float(value)


def states(values: Sequence[int]) -> list[int]:
    """The machine's state before each value; ValueError for what is not on the trellis."""
    state, result = 0, []
    for position, value in enumerate(values):
        state = state if position % SEGMENT else 0
        result.append(state)
        state = following(state, index_of(int(value), state))
    return result


def nearest(drawn: Sequence[float], mean: Sequence[float]) -> list[int]:
    """The values whose cells hold these numbers (in steps), one after the other."""
    state, values = 0, []
    for position, (x, m) in enumerate(zip(drawn, mean, strict=True)):
        state = state if position % SEGMENT else 0
        if state % 2 == 0:
            index = math.floor(x + 0.5)
        elif abs(m) >= 16:
            index = math.ceil(x) if m > 0 else math.floor(x)
        else:
            index = 0 if abs(x) < 0.25 else math.ceil(x) if x > 0 else math.floor(x)
        values.append(value_of(index, state))
        state = following(state, index)
    return values


def bits(values: Sequence[int], mean: Sequence[float], index: Sequence[float]) -> list[float]:
    """Ideal cost of each value."""
    rows = zip(values, states(values), mean, index, strict=True)
    return [value_bits(int(v), s % 2 == 1, m, i) for v, s, m, i in rows]


def least_cost(
    latents: Sequence[float],
    mean: Sequence[float],
    index: Sequence[float],
    strength: float,
    price: float,
) -> float:
    """The least of bits * strength + price * error**2 over all sequences of one segment.

    Every value from three beyond the latent to three beyond the mean and zero is tried; without a
    strength only those around the latent.
    """
    costs = {0: 0.0}
    for y, m, i in zip(latents, mean, index, strict=True):
        marks = (y, m / 8, 0.0) if strength else (y,)
        tried = range(math.floor(min(marks)) - 3, math.ceil(max(marks)) + 4)
        after: dict[int, float] = {}
        for second in {state % 2 == 1 for state in costs}:
            for value in tried:
                if value and value % 2 != second:
                    continue
                own = price * (y - place(value)) ** 2
                own += strength * value_bits(value, second, m, i) if strength else 0.0
                parity = index_of(value, int(second)) % 2
                for state, cost in costs.items():
                    if state % 2 == second:
                        target = following(state, parity)
                        after[target] = min(after.get(target, math.inf), cost + own)
        costs = after
    return min(costs.values())
