"""The encoder's search through the trellis, and what values on it cost; `entropy/trellis.py` first.

The search is sequential, so it is a compiled loop on the CPU also where the networks run elsewhere.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pliant.entropy.tables import SCALES, laplace_scale, second_cell
from pliant.entropy.trellis import SEGMENT, ZERO_MEANS
from pliant.layers import loops
from pliant.layers.quantize import BITS_PER_SQUARED_STEP, laplace_bits

STEP = 1.3
"""A step on the trellis, in steps of plain quantisation that costs as much per bit.

Measured with fixed predictions at five rates: 1.3 is best or within 0.2 % of the rate everywhere.
"""

HALF_STEP = STEP / 2
ONE = 1.2
"""Where values of 1 and -1 lie, in half-steps: a wider zero saves more than it costs."""

PRICE = BITS_PER_SQUARED_STEP * HALF_STEP**2  # bits that a squared half-step is worth
_QUIET_BITS = 4.0  # how much more than a zero anything else must cost not to be tried
_MOST_SHRINK = 1.8


class Costs(NamedTuple):
    """Bits times the strength, float32, where nothing else is said.

    price:   of a squared half-step
    one:     where values of 1 lie
    limit:   of the magnitude of latents
    quiet:   [scales]; magnitudes of latents, in half-steps, below which only zeros are tried
    shrink:  [scales]; how far, in half-steps, rate pulls a value towards the mean
    regular: [scales, 64]; of an index 0 to 63 sixteenths of a step from the mean
    slope:   [scales]; farther away, per sixteenth
    near:    [scales, 16, 2, 9]; of indices -4..4 of both quantisers, by means below one step
    """

    price: np.float32
    one: np.float32
    limit: np.float32
    quiet: np.ndarray
    shrink: np.ndarray
    regular: np.ndarray
    slope: np.ndarray
    near: np.ndarray


@functools.lru_cache(maxsize=8)
def _costs(strength: float, limit: int) -> Costs:
    fused = _fused()
    index = torch.arange(float(SCALES))
    distances, means = (torch.arange(float(n)) for n in (fused.DISTANCES, ZERO_MEANS))
    half = torch.tensor(0.5)
    regular = laplace_bits(-half, half, distances, index[:, None]) * strength
    slope = strength / (laplace_scale(np.arange(SCALES)) * np.log(2) * 16)
    indices = np.arange(-fused.MOST, fused.MOST + 1)
    bounds = np.stack(((indices - 0.5, indices + 0.5), second_cell(indices)))
    low, high = torch.from_numpy(bounds).float().unbind(1)
    near = laplace_bits(low, high, means[:, None, None], index[:, None, None, None]) * strength
    # of one over zero, for the mean that favours it most
    more = near[:, fused.QUIET_MEANS, 1, fused.MOST + 1] - near[:, fused.QUIET_MEANS, 1, fused.MOST]
    quiet = (0.5 + 0.5 * (more - _QUIET_BITS) / PRICE).clamp(0, 0.9)
    shrink = np.minimum(4 * slope / PRICE, _MOST_SHRINK)
    tables = quiet, shrink, regular, slope, near
    arrays = (np.ascontiguousarray(x, np.float32) for x in tables)
    return Costs(np.float32(PRICE), np.float32(ONE), np.float32(limit - 4), *arrays)


def choose(y: Tensor, mean: Tensor, index: Tensor, strength: float, limit: int) -> Tensor:
    """The values of the latents that cost least together: rate-distortion optimised.

    Minimises bits * strength + PRICE * error**2 over each segment by Viterbi's algorithm.

    Args:
        y: latents in half-steps; mean: in 1/16 steps; index: table index; all (B, C, H, W).
        limit: largest magnitude of a value, below 2**15.

    Returns:
        Half-steps, int32, channels last in memory, on the CPU.
    """
    latents, means = _rows(y, torch.float32), _rows(mean, torch.int16)
    scales = _rows(index, torch.uint8)
    values, target = loops.empty(tuple(y.shape), torch.int32)
    tables = _costs(strength, limit)
    arguments = latents, scales, means, tables, target.reshape(latents.shape)
    group = SEGMENT * _fused().LANES
    groups = -(-latents.shape[1] // group)
    loops.in_slices(_fused().search, len(latents) * groups, group, *arguments)
    return values


def bits(values: Tensor, mean: Tensor, index: Tensor) -> Tensor:
    """Ideal cost in bits of values (B, C, H, W) on the trellis, differentiable in mean and index.

    Args:
        values: half-steps. mean: in 1/16 steps. index: table index.
    """
    rows, means = _rows(values, torch.int32), _rows(mean, torch.int16)
    shape = tuple(values.shape)
    (low, lows), (high, highs) = (loops.empty(shape, torch.float32) for _ in range(2))
    targets = lows.reshape(rows.shape), highs.reshape(rows.shape)
    loops.in_slices(_fused().cells, len(rows), rows.shape[1], rows, means, *targets)
    return laplace_bits(low.to(mean.device), high.to(mean.device), mean, index)


def _rows(x: Tensor, dtype: torch.dtype) -> np.ndarray:
    """(B, C, H, W) on the CPU as [B, N], in the order of the file: rows, columns, channels."""
    ordered = loops.channels_last(x.detach().to("cpu", dtype))
    return ordered.reshape(len(ordered), -1)


def _fused() -> ModuleType:
    """Numba takes a while to import."""
    from pliant.layers import fused_trellis

    return fused_trellis
