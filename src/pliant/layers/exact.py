"""Exact layers: convolutions whose float32 forward is an integer network.

A decoder must compute the very probabilities that the encoder computed, on any machine. So
everything between decoded symbols and table indices is integer arithmetic carried in float32:

* activations are integers in [0, 127]; 16 of them make 1.0;
* weights are integers in [-127, 127] times 2**-shift;
* every partial sum is a multiple of 2**-shift below 2**(24 - shift), hence exact in float32 in any
  order of summation: thread count, memory layout, instruction set or library cannot change it;
* requantisation rounds half to even and clamps, which int8 kernels do in the same way.

The idea is that of integer networks (Balle et al., "Integer Networks for Data Compression with
Latent-Variable Models", ICLR 2019, section 3), with power-of-two scales. Training uses the same
forward with straight-through gradients.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers import int8, loops
from pliant.layers.integers import ACTIVATION_MAX, EXACT_SUM, requantise, round_clamp, to_grid
from pliant.layers.kept import Kept
from pliant.units import ANCHORS, RATE_UNIT

WEIGHT_MAX = 127
# Of one sum of magnitudes: with the largest constant, 2**22, and rounding, within EXACT_SUM.
LARGEST_WEIGHTS = 90_000
ONE = 16.0  # the activation that stands for 1.0
Begun = Callable[[], Tensor]  # the sums of a layer's first input, made once


class RateVector:
    """The rate parameters of a batch, split into anchor number and position between two anchors.

    Args:
        rate: (B,) integers in [0, RATE_MAX].
        adaptation: (B, n) integers that fit a model to each picture, see `ImageModel.fitted`.
    """

    def __init__(self, rate: Tensor, adaptation: Tensor | None = None) -> None:
        self.rate, self.adaptation = rate, adaptation
        self.anchor = torch.div(rate, RATE_UNIT, rounding_mode="floor").long()
        self.position = (rate - self.anchor * RATE_UNIT).double()
        self._next, self._fraction = self.anchor + 1, (self.position / RATE_UNIT)[:, None]

    @functools.cached_property
    def key(self) -> tuple[int, ...]:
        """The rate parameters as numbers."""
        return tuple(self.rate.tolist())

    def interpolate(self, table: Tensor) -> Tensor:
        """Integer anchors (ANCHORS, C) to integers (B, C, 1, 1); gradients pass to the anchors."""
        low, high = table.index_select(0, self.anchor), table.index_select(0, self._next)
        # the fraction is a multiple of 2**-8, so the products stay exact
        exact = low + (high - low) * self._fraction.to(table.dtype)
        return round_clamp(exact, -EXACT_SUM, EXACT_SUM)[:, :, None, None]


class RateBias(nn.Module):
    """A bias per channel that depends on the rate parameter: interpolated anchors, in integers.

    Args:
        channels: C.
        shift: the bias is an integer times 2**-shift, in activation units.
        variants: how many tables (one for each level that shares the layer).
    """

    def __init__(self, channels: int, shift: int, variants: int = 1) -> None:
        super().__init__()
        self.shift = shift
        self.anchors = nn.Parameter(torch.zeros(variants, ANCHORS, channels))
        self._kept = Kept()

    def integers(self, variant: int) -> Tensor:
        """The table (ANCHORS, C) in units of 2**-shift, in float64; straight-through gradient."""
        if torch.is_grad_enabled():
            return self._integers(variant)
        return self._kept.get(self.anchors, variant, lambda: self._integers(variant))

    def _integers(self, variant: int) -> Tensor:
        scaled = self.anchors[variant].double() * (ONE * 2.0**self.shift)
        return round_clamp(scaled, -(2.0**22), 2.0**22)

    def forward(self, rate: RateVector, variant: int = 0) -> Tensor:
        """(B, C, 1, 1) float32, a multiple of 2**-shift in activation units."""
        return self._at(rate, variant, 2.0**-self.shift)

    def whole(self, rate: RateVector, variant: int = 0) -> Tensor:
        """The same in units of 2**-shift: integers."""
        return self._at(rate, variant, 1.0)

    def _at(self, rate: RateVector, variant: int, unit: float) -> Tensor:
        def made() -> Tensor:
            return (rate.interpolate(self.integers(variant)) * unit).float()

        if torch.is_grad_enabled():
            return made()
        return self._kept.latest(self.anchors, (variant, unit), rate.key, made)


class ExactConv2d(nn.Module):
    """Convolution with integer weights times 2**-shift; returns exact sums without bias.

    Input: activations (B, in_channels, H, W), integers in [0, 127]; their dtype says how to
    compute: float32, bfloat16 (training only) or uint8 (int8 kernels). Output: sums
    (B, out_channels, H, W) in activation units. Odd kernels keep the size, with zeros around; even
    ones step by their own width.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, shift: int, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.shift = shift
        self.kernel = kernel
        self.scale = 2.0**-shift  # of the sums
        std = gain * (2.0 / (in_channels * kernel * kernel)) ** 0.5
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel) * std)
        self._kept = Kept()

    def integers(self) -> Tensor:
        """Weights as integers in [-127, 127], in float32; gradients pass to the trained weights."""
        return to_grid(self.weight, self.shift, WEIGHT_MAX) * 2.0**self.shift

    def folded(self) -> Tensor:
        """Weights times the scale of the sums; kept until they change or move to a device."""
        if torch.is_grad_enabled():
            return self.integers() * self.scale
        layout = torch.channels_last
        return self._kept.get(
            self.weight,
            "folded",
            lambda: (self.integers() * self.scale).contiguous(memory_format=layout),
        )

    def packed(self) -> int8.PackedWeight:
        """The weights for int8 kernels; kept like those of `folded`."""
        return self._kept.get(
            self.weight, "packed", lambda: int8.pack(self.integers().detach(), self.scale)
        )

    @torch.no_grad()
    def project(self) -> None:
        """Brings the trained weights back into the grid's range; beyond it they only drift."""
        limit = WEIGHT_MAX * 2.0**-self.shift
        self.weight.clamp_(-limit, limit)

    def worst_sum(self) -> float:
        """The largest |sum| that any activations can give, in units of 2**-shift."""
        sums = self.integers().detach().double().abs().sum((1, 2, 3))
        return float(sums.max()) * ACTIVATION_MAX

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.uint8:
            return int8.convolve(x, self.packed())
        stride, padding = int8.geometry(self.kernel)
        return F.conv2d(x, self.folded().to(x.dtype), stride=stride, padding=padding)


class ExactLayer(nn.Module):
    """Sum of exact convolutions of several inputs, a rate-dependent bias, requantised.

    Splitting a convolution over its inputs avoids concatenating tensors and lets each input have
    its own kernel size (a trunk enters by 1x1, neighbouring symbols by 3x3).

    Args:
        inputs: (channels, kernel) of each input.
        channels: outputs.
        variants: bias tables, one for each level that shares the layer.
    """

    def __init__(self, inputs: list[tuple[int, int]], channels: int, variants: int = 1) -> None:
        super().__init__()
        gain = 0.5 * len(inputs) ** -0.5  # inputs are positive: leave room before 127
        self.convs = nn.ModuleList(ExactConv2d(c, channels, k, _shift(k), gain) for c, k in inputs)
        self.bias = RateBias(channels, 8, variants)

    def worst_sum(self) -> float:
        """The largest |sum with bias| that any activations can give, in units of its finest bit."""
        convs = [c for c in self.convs if isinstance(c, ExactConv2d)]
        finest = max(self.bias.shift, *(c.shift for c in convs))
        worst = sum(c.worst_sum() * 2.0 ** (finest - c.shift) for c in convs)
        return worst + largest(self.bias) * 2.0 ** (finest - self.bias.shift)

    def begin(self, x: Tensor) -> Begun:
        """The sums of the first input, when they are first asked for."""
        return functools.cache(functools.partial(self.convs[0], x))

    def sums(self, inputs: list[Tensor], begun: Begun | None = None) -> Tensor:
        """Exact sums of all inputs, without bias."""
        total: Tensor = begun() if begun else self.convs[0](inputs[0])
        for conv, x in zip(list(self.convs)[1:], inputs[1:], strict=True):
            total = total.add_(conv(x)) if not torch.is_grad_enabled() else total + conv(x)
        return total

    def forward(
        self,
        inputs: list[Tensor],
        rate: RateVector,
        variant: int = 0,
        begun: Begun | None = None,
    ) -> Tensor:
        """Activations; `begun` is of the first input, and of no use afterwards."""
        bias = self.bias(rate, variant)
        if inputs[0].dtype == torch.uint8 and len(bias) == 1:
            return self._activate_int8(inputs, bias.flatten(), begun)
        return requantise(self.sums(inputs, begun), bias)

    def _activate_int8(self, inputs: list[Tensor], bias: Tensor, begun: Begun | None) -> Tensor:
        packed = [c.packed() for c in self.convs if isinstance(c, ExactConv2d)]
        if len(inputs) == 1:
            return int8.convolve_activate(inputs[0], packed[0], bias)
        total = begun() if begun else int8.convolve(inputs[0], packed[0])
        for i, x in enumerate(inputs[1:], 1):
            last = i == len(inputs) - 1
            total = int8.convolve_add(x, packed[i], bias if last else torch.zeros_like(bias), total)
        return _activations(total)


def _activations(total: Tensor) -> Tensor:
    """Sums of one picture to activations: rounded, within [0, 127], uint8."""
    from pliant.layers import fused

    out, target = loops.empty(tuple(total.shape), torch.uint8)
    source = loops.channels_last(total).ravel()
    loops.in_slices(fused.activate, target.size, 1, source, target.ravel())
    return out


class ExactHead(nn.Module):
    """Exact convolution with a rate-dependent bias and signed integer outputs, not requantised.

    Starts near zero, so that a prior begins with what its explicit terms say.
    """

    def __init__(
        self, in_channels: int, out_channels: int, variants: int = 1, kernel: int = 1
    ) -> None:
        super().__init__()
        self.conv = ExactConv2d(in_channels, out_channels, kernel, _shift(kernel), gain=0.05)
        self.bias = RateBias(out_channels, 8, variants)

    def worst_sum(self) -> float:
        """As `ExactLayer.worst_sum`."""
        finer = 2.0 ** (self.bias.shift - self.conv.shift)
        return self.conv.worst_sum() * finer + largest(self.bias)

    def forward(self, x: Tensor, rate: RateVector, variant: int = 0) -> Tensor:
        """Sums (B, out_channels, H, W), multiples of 2**-8 in float32; the caller rounds them."""
        bias = self.bias(rate, variant)
        if x.dtype == torch.uint8 and len(bias) == 1:
            return int8.convolve(x, self.conv.packed(), bias.flatten())
        out: Tensor = self.conv(x).float() + bias
        return out


class SpreadConv2d(ExactConv2d):
    """Exact convolution with positive weights over magnitudes, plus a positive constant.

    The explicit magnitude term of a prior: the expected spread of a symbol is a weighted sum of
    the magnitudes around it. The trained weights are logarithms. Output: integers
    (B, out_channels, H, W) in 1/256 steps.
    """

    SPREAD_SHIFT = 8

    def __init__(self, in_channels: int, out_channels: int, variants: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, self.SPREAD_SHIFT)
        self.scale = 1.0
        self.constant = RateBias(out_channels, 4, variants)
        nn.init.constant_(self.constant.anchors, 0.1)

    def integers(self) -> Tensor:
        """Weights as integers in [0, 127], in float32; gradients pass to their logarithms."""
        return to_grid(self.weight.exp(), self.shift, WEIGHT_MAX) * 2.0**self.shift

    @torch.no_grad()
    def project(self) -> None:
        """As for other weights; these are logarithms, and below half a unit they are zero.

        Sums stay exact however many weights there are.
        """
        unit = 2.0**-self.shift
        excess = self.weight.exp().sum((1, 2, 3), keepdim=True) / (LARGEST_WEIGHTS * unit)
        self.weight.sub_(excess.log().clamp_(min=0))
        self.weight.clamp_(math.log(0.1 * unit), math.log(WEIGHT_MAX * unit))

    def worst_sum(self) -> float:
        """The largest spread that any magnitudes can give, in 1/256 steps."""
        return super().worst_sum() + largest(self.constant)

    def spread(self, magnitudes: Tensor, rate: RateVector, variant: int = 0) -> Tensor:
        """`magnitudes`: (B, in_channels, H, W) integers in [0, 127]."""
        constant = self.constant.whole(rate, variant)
        if magnitudes.dtype == torch.uint8 and len(constant) == 1:
            return int8.convolve(magnitudes, self.packed(), constant.flatten())
        out: Tensor = self(magnitudes).float() + constant
        return out


def project(module: nn.Module) -> None:
    """Brings the trained weights of all exact convolutions back into their grids' range."""
    for part in module.modules():
        if isinstance(part, ExactConv2d):
            part.project()


def _shift(kernel: int) -> int:
    """Of weights: a sum over 3x3 positions has smaller ones."""
    return 8 if kernel > 1 else 7


def largest(bias: RateBias) -> float:
    """The largest |bias| of any rate, in its own units."""
    return max(float(bias.integers(v).detach().abs().max()) for v in range(len(bias.anchors)))
