"""The transform of ILC: a flow whose latent is parted into what is coded and what is forgotten.

Wang et al., "Modeling Lost Information in Lossy Image Compression" (2020, arXiv 2006.11999).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from pliant.layers.convolutions import point
from pliant.layers.invertible import Chain, Haar, Invertible, InvertibleConv, TwoSidedCoupling
from pliant.transforms.autoencoder import MID_GREY, PEAK

_CODED = 3  # one of so many channels is coded
_SLOPE = 0.2  # of the networks' rectifiers below zero
_RIDGE = 1e-4  # of the mean energy, where a latent is to be met
_LEAST = 0.01  # length of a row that gives one of its channels


class LossyFlow(nn.Module):
    """Pixels to [y], and back with z at its mode.

    Every stage is a Haar wavelet, a 1x1 convolution and couplings; the first has no couplings.

    Args:
        widths: of the couplings' networks at each stage from the second on.
        kernels: their sizes.
        couplings: of each of these stages.
        mixing: whether there are 1x1 convolutions.
    """

    def __init__(
        self, widths: Sequence[int], kernels: Sequence[int], couplings: int, mixing: bool
    ) -> None:
        super().__init__()
        self.channels = 12  # of y and z together
        layers = _stage(self.channels, [], mixing)
        self.reach = 0
        for width, kernel in zip(widths, kernels, strict=True):
            self.channels *= 4
            low = self.channels // _CODED
            make = partial(_bottleneck, width, kernel)
            made = [TwoSidedCoupling(self.channels, low, make) for _ in range(couplings)]
            layers += _stage(self.channels, made, mixing)
            self.reach += couplings * 4 * (kernel // 2) * _factor(self.channels)
        self.factor = _factor(self.channels)
        self.reach = -(-self.reach // self.factor) * self.factor
        self.coded = self.channels // _CODED
        # an untrained y consists of averages of 0..1, of which steps of one would leave nothing
        self.log_gain = nn.Parameter(torch.zeros(self.coded, 1, 1))
        self.flow = Chain(layers)

    def parts(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in 0..255 to y, in its steps, and z, in levels of pixels.

        Only training looks at z.
        """
        out = self.flow(image / PEAK - MID_GREY)
        y, z = out.split([self.coded, self.channels - self.coded], 1)
        return y * self.log_gain.exp(), z * PEAK

    def analysis(self, image: Tensor) -> list[Tensor]:
        """See `models.base.Transform`; sizes in multiples of `factor`."""
        return [self.parts(image)[0]]

    def joined(self, y: Tensor, z: Tensor) -> Tensor:
        """Inverse of `parts`."""
        out = self.flow.inverse(torch.cat((y * (-self.log_gain).exp(), z / PEAK), 1))
        return (out + MID_GREY) * PEAK

    def synthesis(self, latents: Sequence[Tensor]) -> Tensor:
        """See `models.base.Transform`; z is 0, its most likely value."""
        (y,) = latents
        batch, _, height, width = y.shape
        return self.joined(y, y.new_zeros(batch, self.channels - self.coded, height, width))

    @torch.no_grad()
    def linear_start(self, image: Tensor, step: float) -> None:
        """Starts as a linear transform of photos: 1x1 convolutions give principal components.

        Those of most energy come first, so that y has them.

        Args:
            image: (B, 3, H, W) in 0..255, sizes multiples of `factor`; some dozens of crops.
            step: of an orthonormal transform of 0..255 that one unit of y shall be worth.
        """
        self.log_gain.fill_(math.log(PEAK * self.factor / step))
        self._through(image, _components)

    @torch.no_grad()
    def meet(self, image: Tensor, y: Tensor) -> None:
        """Brings the latent of photos as near to another one as the last 1x1 convolution can.

        That is the least squares solution; z is made of what y cannot tell. Does nothing without
        1x1 convolutions.

        Args:
            image: see `linear_start`, which comes before.
            y: (B, coded, H / factor, W / factor) what shall be met, in its steps.
        """
        last = [layer for layer in self.flow.layers if isinstance(layer, InvertibleConv)][-1:]
        wanted = y * (-self.log_gain).exp()

        def near(layer: InvertibleConv, x: Tensor) -> Tensor | None:
            if layer not in last:
                return None
            samples, goals = (t.movedim(1, 0).flatten(1).double() for t in (x, wanted))
            energy = samples @ samples.T / samples.shape[1]
            energy += _RIDGE * energy.diagonal().mean() * torch.eye(len(energy))
            rows = torch.linalg.solve(energy, samples @ goals.T / samples.shape[1]).T
            unused = rows.norm(dim=1) < _LEAST  # of what is always zero no matrix has an inverse
            rows[unused] = _LEAST * layer.weight[: len(rows), :, 0, 0].double()[unused]
            back = torch.linalg.solve(rows @ energy @ rows.T, rows @ energy).T
            rest = torch.linalg.qr(back, mode="complete").Q[:, len(rows) :].T
            return torch.cat((rows, rest))

        self._through(image, near)

    def _through(
        self, image: Tensor, matrix: Callable[[InvertibleConv, Tensor], Tensor | None]
    ) -> None:
        """Sets the 1x1 convolutions, one after the other, by what arrives at them."""
        x = image / PEAK - MID_GREY
        for layer in self.flow.layers:
            assert isinstance(layer, Invertible)
            found = matrix(layer, x) if isinstance(layer, InvertibleConv) else None
            if found is not None:
                assert isinstance(layer, InvertibleConv)
                layer.weight.copy_(found[:, :, None, None])
            x = layer(x)


def _components(layer: InvertibleConv, x: Tensor) -> Tensor:
    """The principal components of x as rows, most energy first."""
    samples = x.movedim(1, 0).flatten(1).double()
    _, directions = torch.linalg.eigh(samples @ samples.T)
    found: Tensor = directions.flip(1).T
    return found


def _factor(channels: int) -> int:
    """Pixels per sample, in each direction, of a flow of three colours."""
    return int((channels // 3) ** 0.5)


def _stage(channels: int, couplings: Sequence[Invertible], mixing: bool) -> list[Invertible]:
    mix: list[Invertible] = [InvertibleConv(channels)] if mixing else []
    return [Haar(), *mix, *couplings]


def _bottleneck(width: int, kernel: int, inputs: int, outputs: int) -> nn.Sequential:
    """KxK, 1x1 and KxK convolution; starts as zero, with features that the last can use at once."""
    first = nn.Conv2d(inputs, width, kernel, 1, kernel // 2)
    second, last = point(width, width), nn.Conv2d(width, outputs, kernel, 1, kernel // 2)
    for layer in (first, second):
        nn.init.xavier_normal_(layer.weight)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(first, nn.LeakyReLU(_SLOPE), second, nn.LeakyReLU(_SLOPE), last)
