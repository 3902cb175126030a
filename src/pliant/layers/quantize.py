"""Rate parameter to step size, rate-distortion-optimised rounding, and the cost of symbols.

The rate parameter r is an integer in [0, RATE_MAX]; the step is 2**(STEP_LOG2_MIN + r / 256),
geometric between anchors (cf. Cui et al. 2021, eq. 5, where gains are interpolated exponentially).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pliant.layers import loops
from pliant.layers.exact import RateVector
from pliant.layers.integers import apply
from pliant.units import ANCHORS, RATE_UNIT

STEP_LOG2_MIN = 0.75
SCALES = 64
# Laplacian scale of table index i: 2 ** (i / SCALES_PER_OCTAVE + SCALE_LOG2_MIN), in steps.
SCALES_PER_OCTAVE = 5.0
SCALE_LOG2_MIN = -4.5
MEAN_UNIT = 16.0
LN2 = 0.6931471805599453
# At high rate D(R) = step**2 / 12 gives dD/dR = -2 ln 2 D: one bit is worth step**2 / 8.66 of
# squared error.
BITS_PER_SQUARED_STEP = 6.0 / LN2


def step_for(distortion_weight: float) -> float:
    """The step, in units of an orthonormal transform of 0..255, that is best at high rate.

    D = step**2 / 12 and dD/dR = -2 ln 2 D, so the weight of distortion fixes the step.
    """
    return math.sqrt(BITS_PER_SQUARED_STEP / distortion_weight)


def step_size(rate: Tensor) -> Tensor:
    """The step in pixel units (0..255, orthonormal transform), for integer or real r."""
    return torch.exp2(STEP_LOG2_MIN + rate.double() / RATE_UNIT).float()


@dataclass(frozen=True)
class Points:
    """What the symbols of a latent stand for: multiples of a unit, with a place of its own for one.

    Attributes:
        unit: in steps.
        one: of a symbol of 1 or -1, in units.
    """

    unit: float = 1.0
    one: float = 1.0


class Gains(nn.Module):
    """What symbols stand for, per latent and channel: the common step times 2**offset and a unit.

    Offsets are interpolated between anchors: the gains' geometric interpolation of Cui et al.,
    "Asymmetric Gained Deep Image Compression with Continuous Rate Adaptation" (CVPR 2021), eq. 5.
    One step for all channels (offsets 0) suits an orthonormal transform.

    Args:
        channels: of each latent.
        points: of each latent's symbols.
    """

    def __init__(self, channels: Sequence[int], points: Sequence[Points]) -> None:
        super().__init__()
        self.points = tuple(points)
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(ANCHORS, c)) for c in channels)

    def steps(self, rate: RateVector) -> list[Tensor]:
        """(B, C, 1, 1) per latent: the unit of its symbols."""
        common = step_size(rate.rate)[:, None, None, None]
        f = (rate.position / RATE_UNIT).float()[:, None]
        lerp = [o[rate.anchor] * (1 - f) + o[rate.anchor + 1] * f for o in self.offsets]
        return [
            common * p.unit * torch.exp2(o)[:, :, None, None]
            for o, p in zip(lerp, self.points, strict=True)
        ]

    def decoder_steps(self, rate: RateVector) -> list[Tensor]:
        """What the decoder multiplies symbols by: their units, unless it has factors of its own."""
        return self.steps(rate)

    def dequantise(self, symbols: Sequence[Tensor], rate: RateVector) -> list[Tensor]:
        """Symbols (B, C, h, w) to latents."""
        everything = zip(symbols, self.decoder_steps(rate), self.points, strict=True)
        return [_dequantise(q, step, p.one) for q, step, p in everything]


def _dequantise(symbols: Tensor, step: Tensor, one: float) -> Tensor:
    q = symbols.float()
    if one == 1:
        return q * step
    if not loops.compilable(q, step):
        return torch.where(q.abs() == 1, q * one, q) * step
    from pliant.layers import fused  # takes a while

    source = loops.array(q)
    latents = torch.empty(q.shape)
    target = latents.numpy().reshape(-1, *source.shape[2:])
    planes = source.reshape(target.shape), step.numpy().ravel(), np.float32(one), target
    loops.in_slices(fused.dequantise, len(target), target[0].size, *planes)
    return latents


class UnitGains(Gains):
    """Steps of one at every rate, for models that are trained for a single one.

    Args:
        latents: how many.
    """

    def __init__(self, latents: int) -> None:
        super().__init__([], [Points()] * latents)

    def steps(self, rate: RateVector) -> list[Tensor]:
        """See `Gains.steps`."""
        return [torch.ones((1, 1, 1, 1), device=rate.rate.device)] * len(self.points)


class _LaplaceBits(torch.autograd.Function):
    """-log2 of the mass of a Laplacian between two bounds, with analytic gradients.

    Seen from the mean, with the farther bound at positive distance: u < w.
    """

    @staticmethod
    def forward(ctx: Any, low: Tensor, high: Tensor, mean: Tensor, index: Tensor) -> Tensor:
        inverse = torch.exp2(index * (-1 / SCALES_PER_OCTAVE) - SCALE_LOG2_MIN)
        centre, width = (low + high) * 0.5 - mean * (1 / MEAN_UNIT), high - low
        d = centre.abs()
        u, w = d - 0.5 * width, d + 0.5 * width
        near = u < 0  # the mean lies within
        a, b = torch.exp(-u.abs() * inverse), torch.exp(-w * inverse)
        p = torch.where(near, 1 - 0.5 * (a + b), 0.5 * (a - b)).clamp_min_(1e-30)
        e = torch.exp(-width * inverse)
        tail = u * inverse - torch.log1p(-e) + LN2
        nats = torch.where(near, -torch.log(p), tail)
        if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
            slope = torch.where(near, 0.5 * inverse * (a - b) / p, inverse)
            spread = torch.where(
                near,
                0.5 * inverse * (b * w - a * u) / p,
                inverse * (e * width / (1 - e).clamp_min_(1e-30) - u),
            )
            ctx.save_for_backward(
                slope * centre.sign() * (-1 / (MEAN_UNIT * LN2)), spread * (1 / SCALES_PER_OCTAVE)
            )
        return nats * (1 / LN2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, Tensor]:
        d_mean, d_index = ctx.saved_tensors
        return None, None, grad * d_mean, grad * d_index


def laplace_bits(low: Tensor, high: Tensor, mean: Tensor, index: Tensor) -> Tensor:
    """Ideal cost in bits of what lies between two bounds, under table `index` and `mean`.

    All of one shape; bounds in steps, the mean in 1/16 steps. Gradients reach mean and index.
    """
    return apply(_LaplaceBits, low, high, mean, index)


def symbol_bits(q: Tensor, mean: Tensor, index: Tensor) -> Tensor:
    """Ideal cost in bits of symbols q that stand for [q - 1/2, q + 1/2]; see `laplace_bits`.

    Where q has a gradient, as the surrogates of training do, it gets one.
    """
    if q.requires_grad:  # to move a value is to move the mean the other way
        half = q.new_full((), 0.5)
        return laplace_bits(-half, half, mean - q * MEAN_UNIT, index)
    return laplace_bits(q - 0.5, q + 0.5, mean, index)


@torch.no_grad()
def choose_symbols(y: Tensor, mean: Tensor, index: Tensor, strength: float) -> Tensor:
    """Rate-distortion-optimised rounding: the nearest integer, or one step toward the mean.

    Minimises bits + 8.66 * (y - q)**2 / strength over the two candidates; strength 0 rounds
    plainly, 1 follows the slope of the operational rate-distortion curve at high rate.

    Args:
        y: latent in steps; mean: in 1/16 steps; index: table index; all of one shape.
    """
    q = y.round()
    if strength == 0:
        return q
    away = q - mean * (1 / MEAN_UNIT)
    # Most symbols are at the peak already; the others are gathered: logarithms take time.
    chosen, where = _in_memory_order(q), (_in_memory_order(away).abs() > 0.5).nonzero()[:, 0]
    y, near, away, index = (_in_memory_order(x)[where] for x in (y, q, away, index))
    chosen[where] = _nearer_to_the_mean(y, near, away, index, strength)
    return chosen.view_as(q.movedim(1, -1)).movedim(-1, 1) if q.dim() > 1 else chosen


def _in_memory_order(x: Tensor) -> Tensor:
    """(B, C, H, W), channels last in memory, as one dimension; usually without a copy."""
    return (x.movedim(1, -1) if x.dim() > 1 else x).reshape(-1)


def _nearer_to_the_mean(
    y: Tensor, q: Tensor, away: Tensor, index: Tensor, strength: float
) -> Tensor:
    """q, or q less the sign of `away` (its distance to the mean, above 1/2) where cheaper."""
    other = q - away.sign()
    outward = (y - other) ** 2 - (y - q) ** 2
    return torch.where(_saved(away.abs(), index) > outward * _price(strength), other, q)


def _price(strength: float) -> float:
    """Nats that a squared step is worth."""
    return LN2 * BITS_PER_SQUARED_STEP / strength


def _saved(d: Tensor, index: Tensor) -> Tensor:
    """Nats that the inner candidate saves, d > 1/2 from the mean.

    Beyond 1.5 steps a symbol costs 1 / b nats more than the next one inward. Closer in, the inner
    candidate lies in the bin of the peak: tail(d) - peak(d - 1), see `symbol_bits`.
    """
    inverse = torch.exp2(index * (-1 / SCALES_PER_OCTAVE) - SCALE_LOG2_MIN)
    e = (d - 1).abs().clamp_(max=0.5)
    peak = torch.log1p(
        (torch.exp((e - 0.5) * inverse) + torch.exp((-0.5 - e) * inverse)).mul_(-0.5)
    )
    tail = (d - 0.5) * inverse - torch.log1p(-torch.exp(-inverse)) + LN2
    return torch.where(d >= 1.5, inverse, tail + peak)
