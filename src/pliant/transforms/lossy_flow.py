"""The transform of ILC: a flow whose latent is parted into what is coded and what is forgotten.

Wang et al., "Modeling Lost Information in Lossy Image Compression" (2020, arXiv 2006.11999).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from pliant.layers.convolutions import point
from pliant.layers.invertible import Chain, Haar, Invertible, InvertibleConv, TwoSidedCoupling
from pliant.transforms.autoencoder import MID_GREY, PEAK

_CODED = 3  # one of so many channels is coded
_SLOPE = 0.2  # of the networks' rectifiers below zero
_SMALLNESS = 0.1  # of their first weights


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
    def linear_start(self, step: float) -> None:
        """Gives y the step (of an orthonormal transform of 0..255) that one unit shall be worth."""
        self.log_gain.fill_(math.log(PEAK * self.factor / step))


def _factor(channels: int) -> int:
    """Pixels per sample, in each direction, of a flow of three colours."""
    return int((channels // 3) ** 0.5)


def _stage(channels: int, couplings: Sequence[Invertible], mixing: bool) -> list[Invertible]:
    mix: list[Invertible] = [InvertibleConv(channels)] if mixing else []
    return [Haar(), *mix, *couplings]


def _bottleneck(width: int, kernel: int, inputs: int, outputs: int) -> nn.Sequential:
    """KxK, 1x1 and KxK convolution; starts as zero."""
    first = nn.Conv2d(inputs, width, kernel, 1, kernel // 2)
    second, last = point(width, width), nn.Conv2d(width, outputs, kernel, 1, kernel // 2)
    for layer in (first, second):
        nn.init.xavier_normal_(layer.weight, _SMALLNESS)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(first, nn.LeakyReLU(_SLOPE), second, nn.LeakyReLU(_SLOPE), last)
