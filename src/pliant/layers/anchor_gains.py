"""The gains of MSINN: before rounding, after it, and of the expected spread, at every anchor.

Tu et al., "Multi-Scale Invertible Neural Network for Wide-Range Variable-Rate Learned Image
Compression" (IEEE Transactions on Multimedia 2025). An anchor is a rate that training uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from pliant.layers.bound import lower_bound
from pliant.layers.exact import RateVector
from pliant.layers.gain_units import geometric
from pliant.layers.quantize import Gains, Points, step_for
from pliant.layers.variable import WEIGHTS
from pliant.units import RATE_MAX

ANCHOR_WEIGHTS: Final = (*WEIGHTS, 0.32, 0.569, 1.012, 1.8)
"""Published weights of squared error (of 0..255) against bits per pixel, coarse first."""

SMALL_ANCHOR_WEIGHTS: Final = (
    *(0.0007 * (WEIGHTS[-1] / 0.0007) ** (number / 7) for number in range(8)),
    *ANCHOR_WEIGHTS[8:],
)
"""Of the small size: evenly spread, from below; a short training reaches low rates no other way."""

LEAST_FACTOR: Final = 0.01
LEAST_LOG: Final = math.log2(LEAST_FACTOR)


def anchor_rates(anchors: int) -> list[int]:
    """The rate parameters of the anchors, coarse first: from RATE_MAX to 0, evenly."""
    return [round(RATE_MAX * (1 - number / (anchors - 1))) for number in range(anchors)]


class AnchorTable(nn.Module):
    """A factor of at least 0.01 for each anchor and channel, geometric in between.

    Stored as logarithms, which cannot become negative factors; they start at 0.
    """

    def __init__(self, anchors: int, channels: int) -> None:
        super().__init__()
        self.rates = anchor_rates(anchors)
        self.logs = nn.Parameter(torch.zeros(anchors, channels))

    def forward(self, rate: RateVector) -> Tensor:
        """(B, C, 1, 1)."""
        # anchors are bounded, not what lies between: else a gain and its inverse part there
        return geometric(lower_bound(self.logs, LEAST_LOG), rate, self.rates)


class AnchorGains(Gains):
    """Gain, inverse gain and gain of the spread of every channel, which nothing ties together.

    Args:
        channels: of each latent.
        weights: of squared error, at each anchor.
        spread: whether the spread has a gain; an exact prior knows the rate by its biases.
    """

    def __init__(self, channels: Sequence[int], weights: Sequence[float], spread: bool) -> None:
        super().__init__([], [Points()] * len(channels))
        self.weights = tuple(weights)
        self.channels, total, anchors = list(channels), sum(channels), len(weights)
        self.main, self.inverse = AnchorTable(anchors, total), AnchorTable(anchors, total)
        self.spread = AnchorTable(anchors, total) if spread else None

    @torch.no_grad()
    def start(self, peak: float) -> None:
        """Sets gains for an orthonormal transform of 0..peak, and inverse gains to match."""
        for number, weight in enumerate(self.weights):
            gain = 255 / peak / step_for(weight)
            self.main.logs[number] = torch.tensor(gain).log2()
            self.inverse.logs[number] = -torch.tensor(gain).log2()

    @torch.no_grad()
    def start_spreads(self, deviations: Tensor) -> None:
        """Lets a spread of 1 stand for these deviations (C,) of all latents, at every anchor."""
        assert self.spread is not None
        self.spread.logs.copy_(self.main.logs + deviations.log2())

    def steps(self, rate: RateVector) -> list[Tensor]:
        """See `Gains`: 1 / gain."""
        return self._parts(1 / self.main(rate))

    def inverse_gains(self, rate: RateVector) -> list[Tensor]:
        """(B, C, 1, 1) per latent: what a symbol is worth to the decoder."""
        return self._parts(self.inverse(rate))

    def spreads(self, rate: RateVector) -> list[Tensor]:
        """(B, C, 1, 1) per latent: what its expected spread is multiplied by."""
        assert self.spread is not None
        return self._parts(self.spread(rate))

    def dequantise(self, symbols: Sequence[Tensor], rate: RateVector) -> list[Tensor]:
        """See `Gains`: steps reconstruct values in the units of latents, which need their means."""
        return list(symbols)

    def _parts(self, factors: Tensor) -> list[Tensor]:
        return list(factors.split(self.channels, 1))
