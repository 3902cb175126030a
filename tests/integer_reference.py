"""Slow 64-bit integer arithmetic that says what the exact layers must give."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pliant.layers.exact import RateBias
from pliant.units import RATE_UNIT

Integers = npt.NDArray[np.int64]


def convolution(x: Integers, weight: Integers) -> Integers:
    """Zero-padded correlation of (B, C, H, W) with (O, C, k, k), term by term in int64."""
    reach = weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    height, width = x.shape[2:]
    out = np.zeros((len(x), len(weight), height, width), np.int64)
    for o, c in itertools.product(range(len(weight)), range(x.shape[1])):
        for i, j in itertools.product(range(weight.shape[2]), repeat=2):
            out[:, o] += int(weight[o, c, i, j]) * padded[:, c, i : i + height, j : j + width]
    return out


def half_even(numerator: Integers, bits: int) -> Integers:
    """numerator / 2**bits, rounded half to even, by shifts."""
    odd = (numerator >> bits) & 1
    result: Integers = (numerator + (1 << bits - 1) - 1 + odd) >> bits
    return result


def integers(x: Tensor, unit: float = 1.0) -> Integers:
    """x * unit, which must be integers."""
    values = x.detach().double().numpy() * unit
    assert np.array_equal(values, np.round(values))
    return values.astype(np.int64)


def interpolated(bias: RateBias, variant: int, rate: int) -> Integers:
    """The bias of one rate by integer arithmetic: anchors to halves of even, then interpolation."""
    table = np.array(
        [[round(float(v) * 16 * 2**bias.shift) for v in row] for row in bias.anchors[variant]],
        np.int64,
    )
    anchor, position = divmod(rate, RATE_UNIT)
    return half_even(table[anchor] * (RATE_UNIT - position) + table[anchor + 1] * position, 8)
