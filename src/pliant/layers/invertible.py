"""Invertible layers: what normalising flows are made of, each with its exact inverse.

Kingma and Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions" (NeurIPS 2018) and
Dinh, Sohl-Dickstein and Bengio, "Density Estimation using Real NVP" (ICLR 2017). Codecs minimise
rate and distortion, so nobody needs the determinants.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.errors import MissingError
from pliant.layers.kept import Kept

_LEAST_SPREAD = 1e-6


class Invertible(nn.Module, ABC):
    """A layer that can be undone."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to what stands for it."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """What `forward` got, up to float rounding."""

    def adapt(self, x: Tensor) -> Tensor:
        """`forward`, after weights that depend on data were set from x (a batch of crops)."""
        out: Tensor = self(x)
        return out


class Chain(Invertible):
    """Layers one after the other."""

    def __init__(self, layers: Sequence[Invertible]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        """See `Invertible`."""
        for layer in reversed(self.layers):
            assert isinstance(layer, Invertible)
            y = layer.inverse(y)
        return y

    def adapt(self, x: Tensor) -> Tensor:
        """See `Invertible`."""
        for layer in self.layers:
            assert isinstance(layer, Invertible)
            x = layer.adapt(x)
        return x


class SpaceToDepth(Invertible):
    """Blocks of 2x2 samples to four times the channels.

    Args:
        samples_first: channel (2 * row + column) * C + c, all channels of a sample together; else
            4 * c + 2 * row + column, as in torch.
    """

    def __init__(self, samples_first: bool) -> None:
        super().__init__()
        self.samples_first = samples_first

    def forward(self, x: Tensor) -> Tensor:
        blocks = F.pixel_unshuffle(x, 2)
        if not self.samples_first:
            return blocks
        sorted_: Tensor = blocks.unflatten(1, (-1, 4)).transpose(1, 2).flatten(1, 2)
        return sorted_

    def inverse(self, y: Tensor) -> Tensor:
        """See `Invertible`."""
        if self.samples_first:
            y = y.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)
        return F.pixel_shuffle(y, 2)


class Haar(Invertible):
    """Haar wavelet: C averages of 2x2 blocks, then 3C differences; (B, 4C, H/2, W/2).

    Averages keep the range of samples: analysis with 1/4, synthesis with 1. Differences come as
    left - right, top - bottom and diagonal, each of all channels.
    """

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = (x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1))
        return torch.cat((a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d), 1) / 4

    def inverse(self, y: Tensor) -> Tensor:
        """See `Invertible`."""
        m, h, v, d = y.chunk(4, 1)
        samples = (m + h + v + d, m - h + v - d, m + h - v - d, m - h - v + d)
        return F.pixel_shuffle(torch.stack(samples, 2).flatten(1, 2), 2)


class ActNorm(Invertible):
    """(x + bias) * exp(log_scale), of each channel; `adapt` gives it zero mean and unit spread.

    Nothing is set while it runs: averaged weights and copies on other devices have the same start.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.bias) * self.log_scale.exp()

    def inverse(self, y: Tensor) -> Tensor:
        """See `Invertible`."""
        return y * (-self.log_scale).exp() - self.bias

    @torch.no_grad()
    def adapt(self, x: Tensor) -> Tensor:
        """See `Invertible`."""
        samples = x.movedim(1, 0).flatten(1)
        self.bias.copy_(-samples.mean(1)[:, None, None])
        spread = samples.std(1) + _LEAST_SPREAD
        self.log_scale.copy_(-spread.log()[:, None, None])
        out: Tensor = self(x)
        return out


class InvertibleConv(Invertible):
    """1x1 convolution without bias; starts as the identity.

    The inverse is made in float64, and kept until the weights change.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(channels)[:, :, None, None])
        self._kept = Kept()

    @torch.no_grad()
    def rotate(self) -> None:
        """Replaces the weights by a random rotation, as in Glow."""
        random = torch.randn(self.weight.shape[:2], device=self.weight.device)
        self.weight.copy_(torch.linalg.qr(random).Q[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)

    def inverse(self, y: Tensor) -> Tensor:
        """See `Invertible`."""
        if torch.is_grad_enabled():
            return F.conv2d(y, self._inverted())
        return F.conv2d(y, self._kept.get(self.weight, "inverse", self._checked))

    def _inverted(self) -> Tensor:
        """Not finite where there is none, which training takes for a step to skip."""
        exact: Tensor = torch.linalg.inv_ex(self.weight[:, :, 0, 0].double())[0]
        return exact.to(self.weight.dtype)[:, :, None, None]

    def _checked(self) -> Tensor:
        inverse = self._inverted()
        if not bool(torch.isfinite(inverse).all()):
            raise MissingError("the weights hold a matrix that has no inverse")
        return inverse


def bounded_scale(x: Tensor) -> Tensor:
    """exp of -1 to 1, 1 for x = 0: a scale that cannot explode."""
    return (2 * x.sigmoid() - 1).exp()


class Coupling(Invertible):
    """The second part, scaled and shifted by what a network makes of the first; that one stays.

    Args:
        net: (B, channels / 2) to (B, channels): what the scale is made of, then the shift; or to
            the shift alone, of an `additive` coupling. It comes before the scale: the published
            order of MSINN.
    """

    def __init__(self, net: nn.Module, additive: bool = False) -> None:
        super().__init__()
        self.net, self.additive = net, additive

    def _change(self, first: Tensor) -> tuple[Tensor, Tensor]:
        out = self.net(first)
        if self.additive:
            return out.new_ones(()), out
        scale, shift = out.chunk(2, 1)
        return bounded_scale(scale), shift

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        scale, shift = self._change(first)
        return torch.cat((first, (second + shift) * scale), 1)

    def inverse(self, y: Tensor) -> Tensor:
        """See `Invertible`."""
        first, second = y.chunk(2, 1)
        scale, shift = self._change(first)
        return torch.cat((first, second / scale - shift), 1)


class TwoSidedCoupling(Invertible):
    """First the `low` channels change by the others, then the others by the changed ones.

    low' = low * s(high) + t(high), high' = high * s'(low') + t'(low'), with bounded scales.

    Args:
        channels, low: how many there are, and how many are low.
        make: (inputs, outputs) to a network; called for s, t, s' and t'.
    """

    def __init__(self, channels: int, low: int, make: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        high = channels - low
        self.parts = [low, high]
        self.low_scale, self.low_shift = make(high, low), make(high, low)
        self.high_scale, self.high_shift = make(low, high), make(low, high)

    def forward(self, x: Tensor) -> Tensor:
        low, high = x.split(self.parts, 1)
        low = low * bounded_scale(self.low_scale(high)) + self.low_shift(high)
        high = high * bounded_scale(self.high_scale(low)) + self.high_shift(low)
        return torch.cat((low, high), 1)

    def inverse(self, y: Tensor) -> Tensor:
        """See `Invertible`."""
        low, high = y.split(self.parts, 1)
        high = (high - self.high_shift(low)) / bounded_scale(self.high_scale(low))
        low = (low - self.low_shift(high)) / bounded_scale(self.low_scale(high))
        return torch.cat((low, high), 1)
