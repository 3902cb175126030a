"""The published hyperpriors: side values tell scale, or mean and scale, of Gaussians.

Balle et al., "Variational Image Compression with a Scale Hyperprior" (ICLR 2018, section 3) and
Minnen et al., "Joint Autoregressive and Hierarchical Priors for Learned Image Compression" (NeurIPS
2018, section 2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pliant.layers.convolutions import activated, same, subpixel, up
from pliant.layers.exact import RateVector
from pliant.priors.tabled import GaussianStep, PublishedPrior, gaussian_step
from pliant.priors.walk import Schedule


def scale_synthesis(side: int, channels: int) -> nn.Sequential:
    """z to the scales of y, of 2018: transposed convolutions and ReLU."""
    layers = up(side, side), nn.ReLU(), up(side, side), nn.ReLU(), same(side, channels), nn.ReLU()
    return nn.Sequential(*layers)


def wide_synthesis(side: int, channels: int) -> nn.Sequential:
    """z to twice as many features as y has channels, of Minnen et al."""
    middle = channels * 3 // 2
    first = up(side, channels), nn.LeakyReLU(), up(channels, middle), nn.LeakyReLU()
    return nn.Sequential(*first, same(middle, 2 * channels))


def subpixel_synthesis(channels: int) -> nn.Sequential:
    """z to twice as many features as y has channels, of Cheng et al. (CVPR 2020)."""
    middle = channels * 3 // 2
    layers = [
        same(channels, channels),
        subpixel(channels, channels),
        same(channels, middle),
        subpixel(middle, middle),
        same(middle, 2 * channels),
    ]
    return activated(layers)


class GaussianPrior(PublishedPrior):
    """Prior of [z (B, side, H/64, W/64), y (B, channels, H/16, W/16)]; two steps.

    Args:
        side: channels of z.
        channels: of y.
        means: False for scales only.
    """

    def __init__(self, side: int, channels: int, means: bool) -> None:
        super().__init__(side, 64, gaussians=True)
        self.means = means
        self.synthesis = (wide_synthesis if means else scale_synthesis)(side, channels)

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`; `size` in multiples of 64."""
        side = yield self.first_step(size, rate)
        yield self.main_step(self.synthesis(side))

    def main_step(self, features: Tensor) -> GaussianStep:
        """The step of y."""
        if not self.means:
            return gaussian_step(torch.zeros_like(features), features)
        scale, mean = features.chunk(2, 1)
        return gaussian_step(mean, scale)
