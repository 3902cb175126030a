"""The published joint prior: hyperprior plus a masked convolution over what is already known.

Minnen, Balle and Toderici, "Joint Autoregressive and Hierarchical Priors for Learned Image
Compression" (NeurIPS 2018, section 3); also that of Cheng et al. (CVPR 2020) with one Gaussian.

A position sees two rows above and two samples to the left. So all positions with equal 3 row +
column are independent given those before: a schedule of W + 3 (H - 1) waves instead of W H steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.convolutions import point
from pliant.layers.exact import RateVector
from pliant.layers.masked import TAPS, MaskedConv2d
from pliant.layers.variable import gain_of
from pliant.priors.tabled import GaussianStep, PublishedPrior, gaussian_step
from pliant.priors.walk import Schedule, Step

_SLOPE = 3  # columns that a wave moves to the right with every row up
_MARGIN = 2  # of zeros around the known values


def waves(height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, columns) of the positions of each wave, in the order of coding."""
    for number in range(width + _SLOPE * (height - 1)):
        first = max(0, -(-(number - width + 1) // _SLOPE))
        rows = torch.arange(first, min(height - 1, number // _SLOPE) + 1)
        yield rows, number - _SLOPE * rows


class AutoregressivePrior(PublishedPrior):
    """Prior of [z (B, side, H/64, W/64), y (B, channels, H/16, W/16)]; z, then y in waves.

    Args:
        side: channels of z.
        channels: of y.
        synthesis: z to 2 * channels features of the size of y.
    """

    def __init__(self, side: int, channels: int, synthesis: nn.Module) -> None:
        super().__init__(side, 64, gaussians=True)
        self.channels, self.synthesis = channels, synthesis
        self.gain_features: nn.Linear | None = None
        self.context = MaskedConv2d(channels, 2 * channels)
        widths = 4 * channels, channels * 10 // 3, channels * 8 // 3, 2 * channels
        self.first, self.second, self.third = (point(a, b) for a, b in itertools.pairwise(widths))

    def follow_gains(self) -> None:
        """Adds features of the gain to those of the context: Kamisli et al. (DCC 2024)."""
        self.gain_features = nn.Linear(1, 2 * self.channels)
        nn.init.zeros_(self.gain_features.weight)
        nn.init.zeros_(self.gain_features.bias)

    def shift(self, rate: RateVector) -> Tensor:
        """What is added to the context's features: (B, 2 * channels), or zero."""
        if self.gain_features is None:
            return self.context.weight.new_zeros(1, 2 * self.channels)
        out: Tensor = self.gain_features(gain_of(rate.rate).float()[:, None])
        return out

    def parallel(
        self, latents: Sequence[Tensor], size: tuple[int, int], rate: RateVector
    ) -> list[Step]:
        """See `walk.RealPrior`: one masked convolution over all of y."""
        side, main = latents
        context = self.context(main) + self.shift(rate)[:, :, None, None]
        features = torch.cat((self.synthesis(side), context), 1)
        hidden = F.leaky_relu(self.second(F.leaky_relu(self.first(features))))
        scale, mean = self.third(hidden).chunk(2, 1)
        return [self.first_step(size, rate), gaussian_step(mean, scale)]

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`; each wave is (B, channels, 1, positions)."""
        side = yield self.first_step(size, rate)
        hyper = self._hyper(self.synthesis(side))
        batch, height, width = hyper.shape[:3]
        stride = width + 2 * _MARGIN
        known = hyper.new_zeros(batch, (height + _MARGIN) * stride, self.channels)
        offsets = torch.tensor([row * stride + column for row, column in TAPS])
        net = _Waves(self, rate)
        for rows, columns in waves(height, width):
            here = ((rows + _MARGIN) * stride + columns + _MARGIN).to(known.device)
            seen = known[:, (here[:, None] + offsets.to(known.device)).flatten()]
            values = yield net(seen.view(batch, len(here), -1), hyper[:, rows, columns])
            known[:, here] = values[:, :, 0].transpose(1, 2)

    def _hyper(self, features: Tensor) -> Tensor:
        """What the side values add to the first layer's sums: (B, H, W, channels of the layer)."""
        weight = self.first.weight[:, : features.shape[1]]
        return F.conv2d(features, weight, self.first.bias).permute(0, 2, 3, 1).contiguous()

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """One tensor per step: z, the waves of y."""
        side, main = latents
        places = waves(main.shape[2], main.shape[3])
        return [side, *(main[:, :, None, rows, columns] for rows, columns in places)]

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Inverse of `split`."""
        side, height, width = parts[0], size[0] // 16, size[1] // 16
        main = side.new_zeros(len(side), self.channels, height, width)
        for (rows, columns), part in zip(waves(height, width), parts[1:], strict=True):
            main[:, :, rows, columns] = part[:, :, 0]
        return [side, main]


class _Waves:
    """The networks of the prior for single positions, as matrices that are made once."""

    def __init__(self, prior: AutoregressivePrior, rate: RateVector) -> None:
        self.context = prior.context.matrix()
        bias = prior.context.bias
        assert bias is not None
        self.context_bias = (bias + prior.shift(rate))[:, None]
        self.first = prior.first.weight[:, 2 * prior.channels :, 0, 0].contiguous()
        self.second, self.second_bias = prior.second.weight.flatten(1), prior.second.bias
        self.third, self.third_bias = prior.third.weight.flatten(1), prior.third.bias

    def __call__(self, seen: Tensor, hyper: Tensor) -> GaussianStep:
        """The step of positions with these known samples and sums: both (B, positions, ...)."""
        context = F.linear(seen, self.context) + self.context_bias
        hidden = F.leaky_relu(F.linear(context, self.first) + hyper)
        hidden = F.leaky_relu(F.linear(hidden, self.second, self.second_bias))
        out = F.linear(hidden, self.third, self.third_bias).transpose(1, 2)[:, :, None]
        scale, mean = out.chunk(2, 1)
        return gaussian_step(mean, scale)
