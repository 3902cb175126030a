"""Exact layers: convolutions whose float32 forward is an integer network.

A decoder must compute the very probabilities that the encoder computed, on any machine. So everything
between decoded symbols and table indices is integer arithmetic carried in float32 tensors:

* activations are integers in [0, 127]; 16 of them make 1.0;
* weights are integers in [-127, 127] times 2**-shift;
* every partial sum is a multiple of 2**-shift below 2**(24 - shift), hence exact in float32 in any order of
  summation: thread count, memory layout, instruction set or library cannot change it;
* requantisation rounds half to even and clamps, which int8 kernels do in the same way.

The idea is that of integer networks (Balle et al., "Integer Networks for Data Compression with Latent-Variable
Models", ICLR 2019), with power-of-two scales. Training uses the same forward with straight-through gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.units import ANCHORS, RATE_UNIT

ACTIVATION_MAX = 127
WEIGHT_MAX = 127
ONE = 16.0  # the activation that stands for 1.0
EXACT_SUM = float(1 << 24)


class _Grid(torch.autograd.Function):
    """Rounds to multiples of 2**-shift within +-limit * 2**-shift; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: int, limit: float) -> Tensor:
        return (x * 2.0**shift).round_().clamp_(-limit, limit).mul_(2.0**-shift)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return grad, None, None


class _Requantise(torch.autograd.Function):
    """round(sum + bias) clamped to [0, 127]; gradients pass where the result is strictly inside."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, bias: Tensor) -> Tensor:
        y = (total.float() + bias).round_().clamp_(0, ACTIVATION_MAX).to(total.dtype)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        grad = grad * ((y > 0) & (y < ACTIVATION_MAX))
        return grad, grad.float().sum((2, 3), keepdim=True)


class _Round(torch.autograd.Function):
    """round(x) clamped to +-limit, with a straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        return x.round().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return grad, None, None


class _LogIndex(torch.autograd.Function):
    """80 * log2(m), piecewise linear between powers of two, rounded down to an integer."""

    @staticmethod
    def forward(ctx: Any, m: Tensor) -> Tensor:
        ctx.save_for_backward(m)
        return (log2_fixed(m, 7) * 0.625).floor_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (m,) = ctx.saved_tensors
        return grad * (80.0 / 0.6931472) / m


def log2_fixed(m: Tensor, bits: int) -> Tensor:
    """Piecewise-linear log2 of integers m in [1, 2**24), in units of 2**-bits, rounded down; exact everywhere.

    The exponent and mantissa bits of a float32, read as one integer, are this function (Mitchell 1962): it
    needs no table and no transcendental, so it is the same on every machine.
    """
    return ((m.float().view(torch.int32) - 0x3F800000) >> (23 - bits)).float()


def log_index(m: Tensor) -> Tensor:
    """Scale index (1/16 units, five indices an octave) of a spread of m; see `_LogIndex`."""
    out: Tensor = _LogIndex.apply(m)
    return out


def compand(magnitude: Tensor) -> Tensor:
    """Integer magnitudes >= 0 to activations: 16 per octave of 1 + magnitude, at most 127."""
    return log2_fixed(magnitude + 1, 4).clamp_(max=ACTIVATION_MAX)


def signed_planes(x: Tensor) -> Tensor:
    """Signed integers (B, C, H, W) to activations (B, 2C, H, W): companded positive part, then negative part."""
    y = compand(x.abs())
    return torch.cat((y * (x > 0), y * (x < 0)), 1)


def round_clamp(x: Tensor, low: float, high: float) -> Tensor:
    """round(x) within [low, high] with a straight-through gradient."""
    out: Tensor = _Round.apply(x, low, high)
    return out


def requantise(total: Tensor, bias: Tensor) -> Tensor:
    """The exact activation function: round(total + bias) clamped to [0, 127]."""
    if torch.is_grad_enabled() or total.dtype != torch.float32:
        out: Tensor = _Requantise.apply(total, bias)
        return out
    return total.add_(bias).round_().clamp_(0, ACTIVATION_MAX)


class RateVector:
    """The rate parameters of a batch, split into anchor number and position between two anchors.

    Args:
        rate: (B,) integers in [0, RATE_MAX].
    """

    def __init__(self, rate: Tensor) -> None:
        self.rate = rate
        self.anchor = torch.div(rate, RATE_UNIT, rounding_mode="floor").long()
        self.position = (rate - self.anchor * RATE_UNIT).double()

    def interpolate(self, table: Tensor) -> Tensor:
        """Integer anchors (ANCHORS, C) to (B, C, 1, 1), rounded to integers (gradients pass to the anchors)."""
        low, high = table[self.anchor], table[self.anchor + 1]
        f = self.position.to(table.dtype)[:, None] / RATE_UNIT  # a multiple of 2**-8: products stay exact
        exact = low + (high - low) * f
        return round_clamp(exact, -EXACT_SUM, EXACT_SUM)[:, :, None, None]


class RateBias(nn.Module):
    """A bias per channel that depends on the rate parameter: anchors with linear interpolation, in integers.

    Args:
        channels: C.
        shift: the bias is an integer times 2**-shift, in activation units.
        variants: how many tables (one for each level that shares the layer).
    """

    def __init__(self, channels: int, shift: int, variants: int = 1) -> None:
        super().__init__()
        self.shift = shift
        self.anchors = nn.Parameter(torch.zeros(variants, ANCHORS, channels))

    def integers(self, variant: int) -> Tensor:
        """The table (ANCHORS, C) in units of 2**-shift; float64 holds it exactly, with straight-through gradient."""
        scaled = self.anchors[variant].double() * (ONE * 2.0**self.shift)
        return round_clamp(scaled, -(2.0**22), 2.0**22)

    def forward(self, rate: RateVector, variant: int = 0) -> Tensor:
        """(B, C, 1, 1) float32, a multiple of 2**-shift in activation units."""
        return (rate.interpolate(self.integers(variant)) * 2.0**-self.shift).float()


class ExactConv2d(nn.Module):
    """Convolution with integer weights times 2**-shift; returns exact sums without bias.

    Input: activations (B, in_channels, H, W), integers in [0, 127]. Output: sums (B, out_channels, H, W) in
    activation units. Zero padding keeps the size.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, shift: int, gain: float = 1.0) -> None:
        super().__init__()
        self.shift = shift
        self.kernel = kernel
        std = gain * (2.0 / (in_channels * kernel * kernel)) ** 0.5
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel) * std)
        self._folded: Tensor | None = None

    def folded(self) -> Tensor:
        """Weights on the integer grid, in float32; gradients pass to the trained weights."""
        if torch.is_grad_enabled():
            self._folded = None
            weight: Tensor = _Grid.apply(self.weight, self.shift, WEIGHT_MAX)
            return weight
        if self._folded is None:
            grid: Tensor = _Grid.apply(self.weight.detach(), self.shift, WEIGHT_MAX)
            self._folded = grid.contiguous(memory_format=torch.channels_last)
        return self._folded

    def worst_sum(self) -> float:
        """The largest |sum| that any activations can give, in units of 2**-shift."""
        integers = (self.weight.detach() * 2.0**self.shift).round().clamp(-WEIGHT_MAX, WEIGHT_MAX)
        return float(integers.double().abs().sum((1, 2, 3)).max()) * ACTIVATION_MAX

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.folded().to(x.dtype), padding=self.kernel // 2)

    def train(self, mode: bool = True) -> ExactConv2d:
        self._folded = None
        return super().train(mode)


class ExactLayer(nn.Module):
    """Sum of exact convolutions of several inputs, a rate-dependent bias, requantised to activations.

    Splitting a convolution over its inputs avoids concatenating tensors and lets each input have its own
    kernel size (a trunk enters by 1x1, neighbouring symbols by 3x3).

    Args:
        inputs: (channels, kernel) of each input.
        channels: outputs.
        variants: bias tables, one for each level that shares the layer.
    """

    def __init__(self, inputs: list[tuple[int, int]], channels: int, variants: int = 1) -> None:
        super().__init__()
        gain = len(inputs) ** -0.5
        self.convs = nn.ModuleList(ExactConv2d(c, channels, k, 8 if k > 1 else 7, gain) for c, k in inputs)
        self.bias = RateBias(channels, 8, variants)

    def sums(self, inputs: list[Tensor]) -> Tensor:
        """Exact sums of all inputs, without bias."""
        total: Tensor = self.convs[0](inputs[0])
        for conv, x in zip(list(self.convs)[1:], inputs[1:], strict=True):
            total = total.add_(conv(x)) if not torch.is_grad_enabled() else total + conv(x)
        return total

    def forward(self, inputs: list[Tensor], rate: RateVector, variant: int = 0) -> Tensor:
        return requantise(self.sums(inputs), self.bias(rate, variant))


class ExactHead(nn.Module):
    """1x1 exact convolution with a rate-dependent bias and signed integer outputs (not requantised).

    Starts near zero, so that a prior begins with what its explicit terms say.
    """

    def __init__(self, in_channels: int, out_channels: int, variants: int = 1) -> None:
        super().__init__()
        self.conv = ExactConv2d(in_channels, out_channels, 1, shift=8, gain=0.05)
        self.bias = RateBias(out_channels, 8, variants)

    def forward(self, x: Tensor, rate: RateVector, variant: int = 0) -> Tensor:
        """Real sums (B, out_channels, H, W), float32; the caller rounds them."""
        return self.conv(x).float() + self.bias(rate, variant)


class SpreadConv2d(ExactConv2d):
    """Exact convolution with positive weights w / 256 over magnitudes, plus a positive constant.

    The explicit magnitude term of the prior: the expected spread of a symbol is a weighted sum of the
    magnitudes around it. Output: integers (B, out_channels, H, W) >= 1 in 1/256 steps.
    """

    SPREAD_SHIFT = 8

    def __init__(self, in_channels: int, out_channels: int, variants: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, self.SPREAD_SHIFT)
        self.constant = RateBias(out_channels, 4, variants)
        nn.init.constant_(self.constant.anchors, 0.1)

    def folded(self) -> Tensor:
        positive: Tensor = _Grid.apply(self.weight.exp(), self.shift, WEIGHT_MAX)
        if torch.is_grad_enabled():
            return positive * 2.0**self.shift
        if self._folded is None:
            self._folded = (positive * 2.0**self.shift).contiguous(memory_format=torch.channels_last)
        return self._folded

    def spread(self, magnitudes: Tensor, rate: RateVector, variant: int = 0) -> Tensor:
        """`magnitudes`: (B, in_channels, H, W) integers in [0, 127]."""
        constant = rate.interpolate(self.constant.integers(variant)).float()
        return (self(magnitudes).float() + constant).clamp(min=1)
