"""One quantiser step for a whole latent, by the rate parameter, and one for its side latent.

Kamisli, Racape and Choi (DCC 2024): the gain g divides the quantiser step of a model that was
trained for its highest rate; g * g is proportional to the weight of distortion, as D = step**2 / 12
at high rate says. The rate parameter runs geometrically from a gain of 1 at 0 to 0.1 at RATE_MAX.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.bound import lower_bound
from pliant.layers.exact import RateVector
from pliant.layers.quantize import Gains, Points
from pliant.units import RATE_MAX

LEAST_GAIN: Final = 0.1
WEIGHTS: Final = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)
"""Published weights of squared error (of 0..255) against bits per pixel, one for each level."""

LEAST_HYPER_STEP: Final = 0.5
_HIDDEN = 10


def gain_of(rate: Tensor) -> Tensor:
    """Gains of rate parameters, float64; real rate parameters are allowed."""
    return torch.exp2(rate.double() * (math.log2(LEAST_GAIN) / RATE_MAX))


def rate_of(gain: float) -> int:
    """The rate parameter whose gain is nearest."""
    return round(RATE_MAX * math.log(gain) / math.log(LEAST_GAIN))


def level_gains() -> list[float]:
    """The gains of the eight levels, coarse first: sqrt(weight / largest weight)."""
    return [math.sqrt(weight / WEIGHTS[-1]) for weight in WEIGHTS]


def level_rates() -> list[int]:
    """The rate parameters of the eight levels, coarse first."""
    return [rate_of(gain) for gain in level_gains()]


class HyperStep(nn.Module):
    """Gain to the quantiser step of the side latent: max(1/2, softplus(net(1 / g))).

    141 parameters; one step for all channels, 1 everywhere at the start.
    """

    def __init__(self) -> None:
        super().__init__()
        last = nn.Linear(_HIDDEN, 1)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, math.log(math.expm1(1)))
        hidden = nn.Linear(1, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()
        self.net = nn.Sequential(*hidden, last)

    def forward(self, gain: Tensor) -> Tensor:
        """Steps of gains (B,)."""
        step = F.softplus(self.net(1 / gain.float()[:, None])[:, 0])
        return lower_bound(step, LEAST_HYPER_STEP)  # a step that rests there can leave again


class ScalarGains(Gains):
    """Units of the symbols of [side latent, main latent]: 1, and 1 / gain of the rate parameter."""

    def __init__(self) -> None:
        super().__init__([], [Points()] * 2)

    def gain(self, rate: RateVector) -> Tensor:
        """(B, 1 or C, 1, 1): what the main latent and its means are multiplied by."""
        return gain_of(rate.rate).float()[:, None, None, None]

    def steps(self, rate: RateVector) -> list[Tensor]:
        """(B, 1 or C, 1, 1) per latent: the unit of its symbols."""
        gain = self.gain(rate)
        return [gain.new_ones(1, 1, 1, 1), 1 / gain]

    def shown(self, side: Tensor, rate: RateVector) -> Tensor:
        """Side symbols as an exact network sees them."""
        return side


class NoGains(ScalarGains):
    """Steps of one at every rate, for methods whose transform does everything."""

    def gain(self, rate: RateVector) -> Tensor:
        """See `ScalarGains`."""
        return torch.ones_like(super().gain(rate))


class VariableGains(ScalarGains):
    """With a step of the side latent.

    Args:
        hyper_step: whether the side latent has a step of its own; else it is 1.

    Attributes:
        levels: (8,) gains of the levels that training uses; they are stored and never trained.
    """

    def __init__(self, hyper_step: bool) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.tensor(level_gains()), requires_grad=False)
        self.hyper_step = HyperStep() if hyper_step else None

    def steps(self, rate: RateVector) -> list[Tensor]:
        """See `ScalarGains`."""
        side, main = super().steps(rate)
        if self.hyper_step is None:
            return [side, main]
        return [self.hyper_step(self.gain(rate).flatten())[:, None, None, None], main]
