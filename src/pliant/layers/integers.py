"""Integer functions carried in float32 tensors, with straight-through gradients for training.

Integers below 2**24, and multiples of a power of two within the same number of bits, are exact in
float32. All functions here map such numbers to such numbers, without a transcendental function, so
every machine agrees.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ACTIVATION_MAX = 127
INDEX_MAX = 63.0
MEAN_MAX = 4095.0  # 1/16 steps
EXACT_SUM = float(1 << 24)


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """`function.apply(*arguments)`, which torch leaves untyped, with one result."""
    out: Tensor = _apply(function, *arguments)
    return out


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    if torch.is_grad_enabled():
        return function.apply(*arguments)
    return function.forward(_NoContext(), *arguments)  # saves some fifty microseconds


class _NoContext:
    """Of a forward that no backward follows."""

    needs_input_grad = (False,) * 8

    def save_for_backward(self, *_tensors: Tensor) -> None:
        """Nothing is kept."""


class _Grid(torch.autograd.Function):
    """Rounds to multiples of 2**-shift within +-limit * 2**-shift; gradient straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: int, limit: float) -> Tensor:
        return (x * 2.0**shift).round_().clamp_(-limit, limit).mul_(2.0**-shift)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad, None, None


class _Requantise(torch.autograd.Function):
    """round(sum + bias) clamped to [0, 127]; gradients pass inside, and where they lead back in.

    A unit that is stuck at an end for every input could otherwise never leave it. At zero, where
    half of the units rest as with any rectifier, a tenth of the gradient is enough.
    """

    @staticmethod
    def forward(ctx: Any, total: Tensor, bias: Tensor) -> Tensor:
        y = (total.float() + bias).round_().clamp_(0, ACTIVATION_MAX).to(total.dtype)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (y,) = ctx.saved_tensors
        # slopes for positive and negative gradients; comparisons are slow in bfloat16
        positive = y.clamp(max=1)
        negative = (ACTIVATION_MAX - y).clamp_(max=1).mul_(0.9 * positive + 0.1)
        grad = (grad.clamp(min=0) * positive).add_(grad.clamp(max=0) * negative)
        return grad, grad.float().sum((2, 3), keepdim=True)


class _Round(torch.autograd.Function):
    """round(x) clamped to [low, high], with a straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        return x.round().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad, None, None


class _Distribution(torch.autograd.Function):
    """(index, mean) from corrections and the explicit scale; gradients straight through.

    None passes that would push an index further beyond its end: where nearly all symbols are zero
    it would always point there, and the optimiser would follow without limit.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor, correction: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        index = correction.round().clamp_(-2048, 2048).add_(scale).mul_(1 / 16)
        index = index.round_().clamp_(0, INDEX_MAX)
        ctx.save_for_backward(index)
        return index, mean.round().clamp_(-MEAN_MAX, MEAN_MAX)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (index,) = ctx.saved_tensors
        outward = ((index == 0) & (grads[0] > 0)) | ((index == INDEX_MAX) & (grads[0] < 0))
        inward = grads[0] * (1 / 16) * ~outward
        return grads[1], inward, inward


class _SignedPlanes(torch.autograd.Function):
    """Companded positive and negative parts, with the slope of the logarithm that they stand for.

    At zero, where both parts could begin, a value gets half of what each says: otherwise nothing
    that is zero everywhere could learn to say something.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        y = compand(x.abs())
        return torch.cat((y * (x > 0), y * (x < 0)), 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        positive, negative = grad.chunk(2, 1)
        share = 0.5 * (1 + x.sign())
        slope = 16 / 0.6931472 / (1 + x.abs())
        out: Tensor = slope * (positive * share - negative * (1 - share))
        return out


class _LogIndex(torch.autograd.Function):
    """80 * log2(m), piecewise linear between powers of two, rounded down to an integer."""

    @staticmethod
    def forward(ctx: Any, m: Tensor) -> Tensor:
        ctx.save_for_backward(m)
        return log2_fixed(m, 7).mul_(0.625).floor_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (m,) = ctx.saved_tensors
        out: Tensor = grad * (80.0 / 0.6931472) / m
        return out


def log2_fixed(m: Tensor, bits: int) -> Tensor:
    """Piecewise-linear log2 of integers m in [1, 2**24), in units of 2**-bits, rounded down.

    The exponent and mantissa bits of a float32, read as one integer, are this function (Mitchell,
    "Computer Multiplication and Division Using Binary Logarithms", IRE Trans. 1962): it needs no
    table and no transcendental function, so it is the same on every machine.
    """
    exponent = m.float().view(torch.int32) - 0x3F800000
    return exponent.bitwise_right_shift_(23 - bits).float()


def log_index(m: Tensor) -> Tensor:
    """Scale index (1/16 units, five an octave) of a spread of max(m, 1); see `_LogIndex`."""
    return apply(_LogIndex, m.clamp(min=1))


def distribution(mean: Tensor, correction: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """What a step needs: table index in [0, 63] and mean in 1/16 steps, integers in float32.

    Args:
        mean: real, 1/16 steps. correction: real, 1/16 indices, added to `scale` (1/16 indices).
    """
    index, mean = _apply(_Distribution, mean, correction, scale)
    return index, mean


def level_of(scale: Tensor) -> Tensor:
    """An index in 1/16 units as an activation: half indices within [0, 127]."""
    return (scale.detach() * (1 / 8)).round_().clamp_(0, ACTIVATION_MAX)


def compand(magnitude: Tensor) -> Tensor:
    """Integer magnitudes >= 0 to activations: 16 per octave of 1 + magnitude, at most 127."""
    return log2_fixed(magnitude + 1, 4).clamp_(max=ACTIVATION_MAX)


def magnitudes(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Signed integers to activations of `dtype`: their magnitudes, at most 127."""
    return x.abs().clamp_(max=ACTIVATION_MAX).to(dtype)


def signed_planes(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Signed integers (B, C, H, W) to activations (B, 2C, H, W) of `dtype`.

    Companded positive part first, then negative part: exact layers take no signed input.
    """
    if x.requires_grad:  # the transform is trained as well
        return apply(_SignedPlanes, x).to(dtype)
    y = compand(x.abs()).to(dtype)
    return torch.cat((y * (x > 0), y * (x < 0)), 1)


def round_clamp(x: Tensor, low: float, high: float) -> Tensor:
    """round(x), half to even, within [low, high], with a straight-through gradient."""
    return apply(_Round, x, low, high)


def to_grid(x: Tensor, shift: int, limit: float) -> Tensor:
    """x rounded to multiples of 2**-shift within +-limit * 2**-shift; straight-through gradient."""
    return apply(_Grid, x, shift, limit)


def requantise(total: Tensor, bias: Tensor) -> Tensor:
    """The exact activation function: round(total + bias) clamped to [0, 127]; may reuse `total`."""
    if torch.is_grad_enabled() or total.dtype != torch.float32:
        return apply(_Requantise, total, bias)
    return total.add_(bias).round_().clamp_(0, ACTIVATION_MAX)
