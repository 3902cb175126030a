"""The published prior of MSINN: slices coarse to fine, each in two halves of a checkerboard.

Tu et al., "Multi-Scale Invertible Neural Network for Wide-Range Variable-Rate Learned Image
Compression" (IEEE Transactions on Multimedia 2025). The context of a slice is the inverse of the
flow, as far as it can be computed from the coarser ones; nothing else is sent. In floating point.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pliant.layers.anchor_gains import AnchorGains
from pliant.layers.cells import A, take
from pliant.layers.convolutions import point
from pliant.layers.exact import RateVector
from pliant.layers.masked import EDGES, SAME_HALF, MaskedConv2d
from pliant.priors.halves import halves, merge, split, whole
from pliant.priors.tabled import GaussianStep, gaussian_step
from pliant.priors.walk import Schedule
from pliant.transforms.multiscale import CHANNELS, FACTORS, MultiscaleTransform, convolutions

_INNER = 3  # layers of the context networks between the first and the last


@dataclass(frozen=True, kw_only=True)
class GainedStep(GaussianStep):
    """Symbols around means, and what they are worth to the decoder.

    Attributes:
        centre: (B, C, H, W) the mean in the unit of the latent.
        worth: (B, C, 1, 1) what a symbol is worth in that unit.
    """

    centre: Tensor
    worth: Tensor

    def reconstruct(self, symbols: Tensor) -> Tensor:
        """See `Step`: in the unit of the latent."""
        return (symbols - self.mean) * self.worth + self.centre


class FlowPrior(nn.Module):
    """Prior of five slices; ten steps. See `walk.Prior`.

    Args:
        transform, gains: of the model that owns them.
        widths: channels of the context networks, coarsest slice first.

    Attributes:
        dtype: has no effect: all arithmetic is in float32.
    """

    def __init__(
        self, transform: MultiscaleTransform, gains: AnchorGains, widths: Sequence[int]
    ) -> None:
        super().__init__()
        self._model = (transform, gains)  # the model's: no modules of this one as well
        self.start = nn.Parameter(torch.ones(CHANNELS[0]))
        self.coarse = nn.ModuleList(
            convolutions([c, *[width] * (_INNER + 1), 2 * c])
            for c, width in zip(CHANNELS[1:], widths[1:], strict=True)
        )
        self.spatial = nn.ModuleList(map(_spatial, CHANNELS, widths))
        self.fusion = nn.ModuleList(_fusion(c) for c in CHANNELS)
        self.dtype = torch.float32

    @torch.no_grad()
    def expect_spreads(self) -> None:
        """Says means of 0 and spreads of 1, before their gains, whatever the context."""
        for fusion in self.fusion:
            assert isinstance(fusion, nn.Sequential)
            last = fusion[-1]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            last.weight.zero_()
            spreads, means = last.bias.chunk(2)
            spreads.fill_(1)
            means.zero_()

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`; `size` in multiples of 32; receives values."""
        transform, gains = self._model
        factors = gains.steps(rate), gains.inverse_gains(rate), gains.spreads(rate)
        support: Tensor | None = None
        for number, (unit, worth, spread) in enumerate(zip(*factors, strict=True)):
            coarse = self._coarse(number, support, size, len(rate.rate))
            context, parts = torch.zeros_like(coarse), list[Tensor]()
            for cells in halves(number):
                sigma, mean = self.fusion[number](torch.cat((coarse, context), 1)).chunk(2, 1)
                step = _step(take(mean, cells), take(sigma, cells), unit, worth, spread)
                parts.append(step.reconstruct((yield step)))
                if len(parts) == 1:
                    known = [parts[0], torch.zeros_like(parts[0])]
                    context = self.spatial[number](whole(number, known))
            if number + 1 < len(CHANNELS):
                refined = transform.refined(number, whole(number, parts), support, worth)
                support = transform.merge(number, refined, support)

    def _coarse(
        self, number: int, support: Tensor | None, size: tuple[int, int], batch: int
    ) -> Tensor:
        """What the coarser slices tell: (B, 2C, h, w), spreads before means."""
        if support is not None:
            features: Tensor = self.coarse[number - 1](support)
            return features
        start = torch.cat((self.start, torch.zeros_like(self.start)))[None, :, None, None]
        return start.expand(batch, -1, size[0] // FACTORS[0], size[1] // FACTORS[0])

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """See `walk.Prior`."""
        return split(latents)

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """See `walk.Prior`."""
        return merge(parts)


def _step(mean: Tensor, sigma: Tensor, unit: Tensor, worth: Tensor, spread: Tensor) -> GainedStep:
    """The step of half a slice; parts are cell-major, so factors of channels repeat."""
    unit, worth, spread = (x.repeat(1, len(A), 1, 1) for x in (unit, worth, spread))
    plain = gaussian_step(mean / unit, sigma * spread)
    return GainedStep(
        plain.index,
        plain.mean,
        wide=True,
        fraction=plain.fraction,
        scale=plain.scale,
        centre=mean,
        worth=worth,
    )


def _spatial(channels: int, width: int) -> nn.Sequential:
    """Half a slice to what it tells of the other half; see `masked.EDGES`."""
    widths = itertools.pairwise([channels, width, width, width, 2 * channels])
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(widths):
        layers += [MaskedConv2d(inputs, outputs, SAME_HALF if number else EDGES, 3), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def _fusion(channels: int) -> nn.Sequential:
    a, b = channels * 10 // 3, channels * 8 // 3
    first, second, third = point(4 * channels, a), point(a, b), point(b, 2 * channels)
    return nn.Sequential(first, nn.GELU(), second, nn.GELU(), third)
