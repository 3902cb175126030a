"""Learnt gains: factors for each rate level, with which one set of networks serves every rate.

Theis et al., "Lossy Image Compression with Compressive Autoencoders" (ICLR 2017), Cui et al.,
"Asymmetric Gained Deep Image Compression with Continuous Rate Adaptation" (CVPR 2021) and Tong et
al., "QVRF: A Quantization-Error-Aware Variable Rate Framework for Learned Image Compression" (ICIP
2023). They differ in how many factors there are, and in what the decoder multiplies by.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.exact import ONE, RateBias, RateVector
from pliant.layers.variable import ScalarGains, gain_of, level_rates


def between_levels(rate: RateVector, rates: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """The next coarser level (B,) of each rate, never the last, and how far it is to the next one.

    Args:
        rates: the rate parameters of the levels, falling; the eight common ones unless given.
    """
    knots = -torch.tensor(rates or level_rates(), device=rate.rate.device).double()
    place = -rate.rate.double()
    level = (torch.searchsorted(knots, place, right=True) - 1).clamp(0, len(knots) - 2)
    low, high = knots[level], knots[level + 1]
    return level, ((place - low) / (high - low)).clamp(0, 1)


def geometric(logs: Tensor, rate: RateVector, rates: Sequence[int] = ()) -> Tensor:
    """Factors (B, C, 1, 1) between those of levels: m_s ** (1 - l) * m_(s + 1) ** l.

    That is the exponential interpolation of Cui et al., eq. 5.

    Args:
        logs: (levels, C) logarithms to base 2, levels coarse first.
        rates: see `between_levels`.
    """
    level, fraction = between_levels(rate, rates)
    share = fraction.to(logs)[:, None]
    return torch.exp2(torch.lerp(logs[level], logs[level + 1], share))[:, :, None, None]


class GainUnit(nn.Module):
    """A positive factor for each level and channel, stored as in `geometric`.

    Args:
        channels: C; 1 for a single factor.
        power: of the gain of the rate parameter: where the factors start.
        anchored: the finest level stays at 1.
    """

    def __init__(self, channels: int, power: float = 1.0, anchored: bool = False) -> None:
        super().__init__()
        start = power * gain_of(torch.tensor(level_rates())).log2().float()
        self.anchored = anchored
        self.logs = nn.Parameter(start[: 7 if anchored else 8, None].repeat(1, channels))

    def forward(self, rate: RateVector) -> Tensor:
        """(B, C, 1, 1)."""
        logs = F.pad(self.logs, (0, 0, 0, 1)) if self.anchored else self.logs
        return geometric(logs, rate)


class TheisGains(ScalarGains):
    """Theis et al.: a factor for each channel of y; the decoder has the reciprocals.

    Args:
        channels: of y.
    """

    def __init__(self, channels: int, anchored: bool = False) -> None:
        super().__init__()
        self.main = GainUnit(channels, anchored=anchored)

    def gain(self, rate: RateVector) -> Tensor:
        """See `ScalarGains`."""
        out: Tensor = self.main(rate)
        return out


class QuantisationErrorAwareGains(TheisGains):
    """Tong et al.: a single factor; the decoder has the reciprocal, without a gradient.

    The level of the base model has a factor of 1 for good; here it is the finest one, so that
    factors fall from there, where the paper's rise from the coarsest.
    """

    def __init__(self) -> None:
        super().__init__(1, anchored=True)

    def decoder_steps(self, rate: RateVector) -> list[Tensor]:
        """See `Gains`."""
        return [step.detach() for step in self.steps(rate)]


class AsymmetricGains(TheisGains):
    """Cui et al.: gains and, independent of them, inverse gains for each channel of y and of z.

    Args:
        side: channels of z.
        channels: of y.
        exact: whether an exact network sees z. The inverse gains of z are integers then, with
            linear interpolation.
    """

    def __init__(self, side: int, channels: int, exact: bool) -> None:
        super().__init__(channels)
        self.inverse = GainUnit(channels, -1.0)
        self.side = GainUnit(side, 0.0)
        self.side_inverse = IntegerFactors(side) if exact else GainUnit(side, 0.0)

    def steps(self, rate: RateVector) -> list[Tensor]:
        """See `ScalarGains`."""
        return [1 / self.side(rate), 1 / self.gain(rate)]

    def decoder_steps(self, rate: RateVector) -> list[Tensor]:
        """See `Gains`."""
        return [self.side_inverse(rate), self.inverse(rate)]

    def shown(self, side: Tensor, rate: RateVector) -> Tensor:
        """See `ScalarGains`."""
        out: Tensor = side * self.side_inverse(rate)
        return out


class IntegerFactors(nn.Module):
    """Factors that are multiples of 1/256, functions of the rate parameter in integers; 1 at first.

    Their products with symbols are the same on every machine, as one rounded multiplication is.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.table = RateBias(channels, 4)
        nn.init.ones_(self.table.anchors)

    def forward(self, rate: RateVector) -> Tensor:
        """(B, C, 1, 1)."""
        out: Tensor = self.table(rate) / ONE
        return out
