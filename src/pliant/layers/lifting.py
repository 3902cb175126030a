"""The CDF 9/7 wavelet by lifting: in float (transform) and in exact integers (prior's context).

Both walk the same four lifting steps (Daubechies and Sweldens, "Factoring Wavelet Transforms into
Lifting Steps", 1998, section 7.7); they differ only in how a step is computed. Sizes must be even;
the signal is extended symmetrically at its ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

CDF97: tuple[float, ...] = (-1.586134342, -0.052980118, 0.882911075, 0.443506852)
# sqrt(2) / 1.230174105: the transform is close to orthonormal, so one step size suits all bands.
CDF97_SCALE = 1.149604398

# The same filter with taps in 1/128, for contexts that must be equal on all machines.
EXACT97: tuple[float, ...] = (-203 / 128, -7 / 128, 113 / 128, 57 / 128)
EXACT97_SCALE = (147 / 128, 111 / 128)
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
    low, high = split_1d(x, 3, taps, scale)
    ll, lh = split_1d(low, 2, taps, scale)
    hl, hh = split_1d(high, 2, taps, scale)
    return ll, torch.stack((hl, lh, hh), 2).flatten(1, 2)


def merge_2d(
    low: Tensor, details: Tensor, taps: Sequence[float | Tensor], scale: float | Tensor
) -> Tensor:
    """Inverse of `split_2d`."""
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
    hl, lh, hh = (details[:, band::3] for band in range(3))
    up, down = EXACT97_SCALE
    first = merge_1d(_scale_exact(low, down), _scale_exact(lh, up), 2, EXACT97, lift_exact)
    second = merge_1d(_scale_exact(hl, down), _scale_exact(hh, up), 2, EXACT97, lift_exact)
    return merge_1d(_scale_exact(first, down), _scale_exact(second, up), 3, EXACT97, lift_exact)
