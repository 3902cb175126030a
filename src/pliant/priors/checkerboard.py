"""The checkerboard prior: a hyperprior whose main latent is coded in two halves.

He et al., "Checkerboard Context Model for Efficient Learned Image Compression" (CVPR 2021, section
3.2): the anchors are coded from the hyper features alone, the other half from these and the decoded
anchors, so that decoding takes two passes instead of one per sample. Here both halves are dense
tensors at half the resolution of y; a 3x3 kernel there sees the anchors within a radius of two to
three samples, like the 5x5 kernel of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pliant.layers.cells import A, B, put, take
from pliant.layers.exact import ExactLayer, RateVector
from pliant.layers.integers import signed_planes
from pliant.priors.factorized import FactorizedPrior
from pliant.priors.hyperprior import HyperSynthesis, LaplaceHead
from pliant.priors.walk import Schedule


class CheckerboardPrior(nn.Module):
    """Prior of [z (B, side, H/4f, W/4f), y (B, channels, H/f, W/f)], f = `factor`; three steps.

    Args:
        channels: of y.
        side: channels of z.
        width: of the hyper synthesis and the context network.
        factor: pixels of the picture per sample of y, in each direction.
    """

    def __init__(self, channels: int, side: int, width: int = 64, factor: int = 16) -> None:
        super().__init__()
        planes = len(A) * channels
        self.side = FactorizedPrior(side, 4 * factor)
        self.synthesis = HyperSynthesis(side, width, 1)
        self.anchors = LaplaceHead(width, planes)
        self.context = ExactLayer([(width, 1), (2 * planes, 3)], width)
        self.others = LaplaceHead(width, planes)
        # of activations: training may use bfloat16, coding uint8 where int8 kernels are exact
        self.dtype = torch.float32

    def expect(self, side: Tensor, main: Tensor) -> None:
        """Lets it expect values of these mean magnitudes, (channels,) of z and of y, in steps."""
        self.side.expect(side)
        for head in (self.anchors, self.others):
            head.expect(main.repeat(len(A)))

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`; `size` in multiples of 4 * factor."""
        side = yield self.side.step(size, rate)
        hyper = self.synthesis(side, rate, self.dtype)
        anchors = yield self.anchors(hyper, rate)
        known = signed_planes(anchors, self.dtype)
        yield self.others(self.context([hyper, known], rate), rate)

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """One tensor per step: z, the anchors of y, its other half."""
        side, main = latents
        return [side, take(main, A), take(main, B)]

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Inverse of `split`."""
        side, anchors, others = parts
        batch, planes, height, width = anchors.shape
        main = anchors.new_zeros(batch, planes // len(A), 2 * height, 2 * width)
        put(main, A, anchors)
        put(main, B, others)
        return [side, main]
