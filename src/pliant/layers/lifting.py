"""Wavelets by lifting: CDF 9/7 in float (transform), and in exact integers (prior's context).

Both walk the same four lifting steps (Daubechies and Sweldens, "Factoring Wavelet Transforms into
Lifting Steps", 1998, section 7.7); they differ only in how a step is computed. Sizes must be even;
the signal is extended symmetrically at its ends. In integers there is also a 5/3 wavelet that loses
nothing (Calderbank et al., "Wavelet Transforms That Map Integers to Integers", 1998, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pliant.layers import loops

CDF97: tuple[float, ...] = (-1.586134342, -0.052980118, 0.882911075, 0.443506852)
# sqrt(2) / 1.230174105: the transform is close to orthonormal, so one step size suits all bands.
CDF97_SCALE = 1.149604398

EXACT_LIMIT = 32767.0  # times 203 and 2 stays below 2**24


@dataclass(frozen=True)
class ExactWavelet:
    """A wavelet on integers, equal on all machines.

    Attributes:
        taps: of four lifting steps, in multiples of 1/128.
        scales: what merging multiplies high and low bands by.
    """

    taps: tuple[float, float, float, float]
    scales: tuple[float, float] = (1.0, 1.0)


# CDF 9/7 for contexts; it only comes near the float one.
EXACT97 = ExactWavelet((-203 / 128, -7 / 128, 113 / 128, 57 / 128), (147 / 128, 223 / 256))
# Reversible: without scales, and as far as nothing reaches the limit. Two of its steps do nothing.
EXACT53 = ExactWavelet((-1 / 2, 1 / 4, 0.0, 0.0))

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
    x: Tensor, dim: int, taps: Sequence[float | Tensor], lift: Lift = lift_float
) -> tuple[Tensor, Tensor]:
    """Four lifting steps along `dim` (2 or 3): (low, high), each half as long, not yet scaled."""
    even, odd = (x[:, :, 0::2], x[:, :, 1::2]) if dim == 2 else (x[..., 0::2], x[..., 1::2])
    odd = lift(odd, _even_neighbours(even, dim), taps[0])
    even = lift(even, _odd_neighbours(odd, dim), taps[1])
    odd = lift(odd, _even_neighbours(even, dim), taps[2])
    even = lift(even, _odd_neighbours(odd, dim), taps[3])
    return even, odd


def merge_1d(
    low: Tensor, high: Tensor, dim: int, taps: Sequence[float | Tensor], lift: Lift = lift_float
) -> Tensor:
    """Inverse of `split_1d`."""
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
        return _split_compiled(x, taps, scale, 0.0)

    def split(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        low, high = split_1d(x, dim, taps)
        return low * scale, high / scale

    return _split_both(x, split)


def split_2d_exact(x: Tensor, wavelet: ExactWavelet) -> tuple[Tensor, Tensor]:
    """`split_2d` of integers, for a wavelet without scales, equal on every machine."""
    if loops.compilable(x):
        return _split_compiled(x, wavelet.taps, 1.0, EXACT_LIMIT)
    return _split_both(x, lambda x, dim: split_1d(x, dim, wavelet.taps, lift_exact))


def _split_both(
    x: Tensor, split: Callable[[Tensor, int], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    low, high = split(x, 3)
    (ll, lh), (hl, hh) = split(low, 2), split(high, 2)
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


def merge_2d_exact(low: Tensor, details: Tensor, wavelet: ExactWavelet = EXACT97) -> Tensor:
    """Approximate inverse of `split_2d` on integers, equal on every machine.

    Without scales, the exact inverse of `split_2d_exact`.

    Args:
        low: (B, C, H, W) integers; details: (B, 3C, H, W) integers in the same units.

    Returns:
        (B, C, 2H, 2W) integers within +-EXACT_LIMIT.
    """
    (up, down), taps = wavelet.scales, wavelet.taps
    if loops.compilable(low, details):
        return _merge_compiled(low, details, taps, (down, up), EXACT_LIMIT)
    hl, lh, hh = (details[:, band::3] for band in range(3))
    first = merge_1d(_scale_exact(low, down), _scale_exact(lh, up), 2, taps, lift_exact)
    second = merge_1d(_scale_exact(hl, down), _scale_exact(hh, up), 2, taps, lift_exact)
    return merge_1d(_scale_exact(first, down), _scale_exact(second, up), 3, taps, lift_exact)


def _split_compiled(
    x: Tensor, taps: Sequence[float | Tensor], scale: float | Tensor, limit: float
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
    arguments = planes, *constants, np.float32(limit), lows[:, 0], highs
    loops.in_slices(fused_lifting.split, rows, width, *arguments)
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
