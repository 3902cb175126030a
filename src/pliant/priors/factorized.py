"""The factorised prior: every channel has a distribution of its own, the same at all positions.

Balle et al., "End-to-end Optimized Image Compression" (ICLR 2017, section 3) and "Variational Image
Compression with a Scale Hyperprior" (ICLR 2018, appendix 6.1), here in the Laplacian family of the
coder: a channel has a mean and a scale, both integer functions of the rate parameter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pliant.layers.exact import RateBias, RateVector
from pliant.layers.integers import distribution
from pliant.layers.quantize import SCALES_PER_OCTAVE
from pliant.priors.surroundings import CORRECTION_UNIT
from pliant.priors.walk import Schedule, Step

INDEX_OF_ONE = 360.0  # 1/16 table indices: the Laplacian with a scale of one quantiser step
SUMS_PER_OCTAVE = SCALES_PER_OCTAVE / CORRECTION_UNIT  # what a network says for twice the scale
_LEAST = 2**-4.5  # in steps: the smallest scale that has a table


def laplace_step(mean: Tensor, scale: Tensor) -> Step:
    """The step of one pass from a network's sums; both are rounded to integers here.

    Args:
        mean: (B, C, H, W) in 1/16 quantiser steps.
        scale: (B, C, H, W) in half table indices (ten to the octave), 0 for a scale of one step.
    """
    start = scale.new_full((1,), INDEX_OF_ONE)
    index, mean = distribution(mean, scale * CORRECTION_UNIT, start)
    return Step(index=index, mean=mean)


def sums_for(scales: Tensor) -> Tensor:
    """What a network, or its biases alone, must say for scales in steps."""
    return SUMS_PER_OCTAVE * scales.clamp(min=_LEAST).log2()


class FactorizedPrior(nn.Module):
    """Prior of one latent (B, channels, H / factor, W / factor), coded in a single step.

    Args:
        channels: C.
        factor: pixels of the picture per sample of the latent, in each direction.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.channels, self.factor = channels, factor
        # 1.0 is a quantiser step in one and eight table indices in the other: 16 integers
        self.mean = RateBias(channels, 0)
        self.scale = RateBias(channels, 0)
        self.dtype = torch.float32  # there are no activations: it has no effect

    @torch.no_grad()
    def expect(self, scales: Tensor) -> None:
        """Lets it expect values of these mean magnitudes, in steps: (channels,) or per anchor."""
        self.scale.anchors[0] = sums_for(scales)

    def step(self, size: tuple[int, int], rate: RateVector) -> Step:
        """The only step of a picture of padded `size` (height, width)."""
        shape = (-1, -1, size[0] // self.factor, size[1] // self.factor)
        return laplace_step(self.mean(rate).expand(shape), self.scale(rate).expand(shape))

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`."""
        yield self.step(size, rate)

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """One tensor per step: the latent itself."""
        return list(latents)

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Inverse of `split`."""
        return list(parts)
