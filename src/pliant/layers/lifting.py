"""The CDF 9/7 wavelet by lifting: in float (transform) and in exact integers (prior's context).

Both walk the same four lifting steps (Daubechies and Sweldens, "Factoring Wavelet Transforms into
Lifting Steps", 1998, section 7.7); they differ only in how a step is computed. Sizes must be even;
the signal is extended symmetrically at its ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pliant.layers import loops

CDF97: tuple[float, ...] = (-1.586134342, -0.052980118, 0.882911075, 0.443506852)
# sqrt(2) / 1.230174105: the transform is close to orthonormal, so one step size suits all bands.
CDF97_SCALE = 1.149604398

# The same filter with taps in 1/128, for contexts that must be equal on all machines.
EXACT97: tuple[float, ...] = (-203 / 128, -7 / 128, 113 / 128, 57 / 128)
EXACT97_SCALE = (147 / 128, 223 / 256)
EXACT_LIMIT = 32767.0  # times 203 and 2 stays below 2**24

Lift = Callable[[Tensor, Tensor, "float | Tensor"], Tensor]


def lift_float(x: Tensor, neighbours: Tensor, tap: float | Tensor) -> Tensor:
    """x + tap * neighbours."""
    if torch.is_grad_enabled():
        return x + tap * neighbours
    return torch.add(x, neighbours, alpha=float(tap))


def lift_exact(x: Tensor, neighbours: Tensor, tap: float | Tensor) -> Tensor:
    """x + round(tap * neighbours) on integers, clamped so that every product stays exact."""
    return (neighbours * tap).round_().add_(x).clamp_(-EXACT_LIMIT, EXACT_LIMIT)


def _even_neighbours(even: Tensor, dim: int) -> Tensor:
    n = even.shape[dim]
    return even + torch.cat((even.narrow(dim, 1, n - 1), even.narrow(dim, n - 1, 1)), dim)


def _odd_neighbours(odd: Tensor, dim: int) -> Tensor:
    n = odd.shape[dim]
    return odd + torch.cat((odd.narrow(dim, 0, 1), odd.narrow(dim, 0, n - 1)), dim)


def split_1d(
    x: Tensor, dim: int, taps: Sequence[float | Tensor], scale: float | Tensor
) -> tuple[Tensor, Tensor]:
    """One analysis level along `dim` (2 or 3): (low, high), each half as long."""
    even, odd = (x[:, :, 0::2], x[:, :, 1::2]) if dim == 2 else (x[..., 0::2], x[..., 1::2])
    odd = lift_float(odd, _even_neighbours(even, dim), taps[0])
    even = lift_float(even, _odd_neighbours(odd, dim), taps[1])
    odd = lift_float(odd, _even_neighbours(even, dim), taps[2])
    even = lift_float(even, _odd_neighbours(odd, dim), taps[3])
    return even * scale, odd / scale


def merge_1d(
    low: Tensor, high: Tensor, dim: int, taps: Sequence[float | Tensor], lift: Lift = lift_float
) -> Tensor:
    """Inverse of the four lifting steps of `split_1d` (without its scaling)."""
    even = lift(low, _odd_neighbours(high, dim), -taps[3])
    odd = lift(high, _even_neighbours(even, dim), -taps[2])
    even = lift(even, _odd_neighbours(odd, dim), -taps[1])
    odd = lift(odd, _even_neighbours(even, dim), -taps[0])
    shape = list(low.shape)
    shape[dim] *= 2
    return torch.stack((even, odd), dim + 1).reshape(shape)


def split_2d(
    x: Tensor, taps: Sequence[float | Tensor], scale: float | Tensor
) -> tuple[Tensor, Tensor]:
    """One analysis level in both directions.

    Args:
        x: (B, C, H, W), H and W even.

    Returns:
        The low band (B, C, H/2, W/2) and the details (B, 3C, H/2, W/2), colour-major HL, LH, HH.
    """
    if loops.compilable(x):
        return _split_compiled(x, taps, scale)
    low, high = split_1d(x, 3, taps, scale)
    ll, lh = split_1d(low, 2, taps, scale)
    hl, hh = split_1d(high, 2, taps, scale)
    return ll, torch.stack((hl, lh, hh), 2).flatten(1, 2)


def merge_2d(
    low: Tensor, details: Tensor, taps: Sequence[float | Tensor], scale: float | Tensor
) -> Tensor:
    """Inverse of `split_2d`."""
    if loops.compilable(low, details):
        return _merge_compiled(low, details, taps, (float(scale), float(scale)), 0.0)
    hl, lh, hh = (details[:, band::3] for band in range(3))
    first = merge_1d(low / scale, lh * scale, 2, taps)
    second = merge_1d(hl / scale, hh * scale, 2, taps)
    return merge_1d(first / scale, second * scale, 3, taps)


def _scale_exact(x: Tensor, factor: float) -> Tensor:
    return (x * factor).round_().clamp_(-EXACT_LIMIT, EXACT_LIMIT)


def merge_2d_exact(low: Tensor, details: Tensor) -> Tensor:
    """Approximate inverse of `split_2d` on integers, equal on every machine.

    Args:
        low: (B, C, H, W) integers; details: (B, 3C, H, W) integers in the same units.

    Returns:
        (B, C, 2H, 2W) integers within +-EXACT_LIMIT.
    """
    up, down = EXACT97_SCALE
    if loops.compilable(low, details):
        return _merge_compiled(low, details, EXACT97, (down, up), EXACT_LIMIT)
    hl, lh, hh = (details[:, band::3] for band in range(3))
    first = merge_1d(_scale_exact(low, down), _scale_exact(lh, up), 2, EXACT97, lift_exact)
    second = merge_1d(_scale_exact(hl, down), _scale_exact(hh, up), 2, EXACT97, lift_exact)
    return merge_1d(_scale_exact(first, down), _scale_exact(second, up), 3, EXACT97, lift_exact)


def _split_compiled(
    x: Tensor, taps: Sequence[float | Tensor], scale: float | Tensor
) -> tuple[Tensor, Tensor]:
    from pliant.layers import fused_lifting

    batch, channels, height, width = x.shape
    low = torch.empty(batch, channels, height // 2, width // 2)
    details = torch.empty(batch, 3 * channels, height // 2, width // 2)
    planes = loops.array(x).reshape(-1, height, width)
    targets = (y.numpy().reshape(len(planes), -1, *low.shape[2:]) for y in (low, details))
    lows, highs = targets
    constants = np.array([float(t) for t in taps], np.float32), np.float32(float(scale))
    rows = len(planes) * (height // 2)
    loops.in_slices(fused_lifting.split, rows, width, planes, *constants, lows[:, 0], highs)
    return low, details


def _merge_compiled(
    low: Tensor,
    details: Tensor,
    taps: Sequence[float | Tensor],
    scales: tuple[float, float],
    limit: float,
) -> Tensor:
    from pliant.layers import fused_lifting

    batch, channels, height, width = low.shape
    out = torch.empty(batch, channels, 2 * height, 2 * width)
    lows = loops.array(low).reshape(-1, height, width)
    highs = loops.array(details).reshape(-1, 3, height, width)
    target = out.numpy().reshape(-1, 2 * height, 2 * width)
    numbers = (np.array([float(n) for n in x], np.float32) for x in (taps, scales))
    rows = len(lows) * height
    arguments = lows, highs, *numbers, np.float32(limit), target
    loops.in_slices(fused_lifting.merge, rows, 2 * width, *arguments)
    return out
