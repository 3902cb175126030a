"""Steps with an explicit magnitude term: scales start from log(sum w |value around| + c).

As in the default prior (`priors/pyramid.py`), a network only corrects it, and all are integers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pliant.layers.exact import ExactHead, RateVector, SpreadConv2d
from pliant.layers.integers import distribution, log_index, magnitudes, round_clamp, signed_planes
from pliant.priors.lowband import INDEX_OFFSET
from pliant.priors.surroundings import CORRECTION_UNIT
from pliant.priors.walk import Step
from pliant.units import ANCHORS

_QUARTERS = 4.0  # in which networks see values: means have sixteenths
_LARGEST_SEEN = 2.0**20
_CONSTANT = 0.5  # share of the expected spread that does not depend on what is around, at first
_INDICES = 80  # to the octave, in 1/16


class SpreadHead(nn.Module):
    """Activations (B, width, h, w) and magnitudes (B, around, h, w) to the step of some planes."""

    def __init__(self, width: int, around: int, planes: int) -> None:
        super().__init__()
        self.spread = SpreadConv2d(around, planes)
        self.head = ExactHead(width, 2 * planes)
        # All weights together are about one half, so many have to be small; the least is a unit.
        # In units that are finer by this, they come to four or so at first.
        self.octaves = round(math.log2(self.spread.weight[0].numel() / 8))
        self.start(torch.ones(ANCHORS, planes), torch.ones(ANCHORS, around))

    @torch.no_grad()
    def start(self, expected: Tensor, known: Tensor) -> None:
        """Expects these mean magnitudes, in symbols, and more where there is more around.

        Args:
            expected: (ANCHORS, planes).
            known: (ANCHORS, around) those of what is around.
        """
        weight, finer = self.spread.weight, 2.0**self.octaves
        shares = (1 - _CONSTANT) / weight[0].numel() * expected[0][:, None] / known[0]
        logarithms = (shares * (finer / _QUARTERS)).log()
        weight.copy_(logarithms[:, :, None, None].expand_as(weight))
        self.spread.project()
        self.spread.constant.anchors[0] = _CONSTANT * finer * expected

    def forward(self, x: Tensor, around: Tensor, rate: RateVector) -> Step:
        spread = self.spread.spread(around, rate)
        scale = log_index(spread) - (INDEX_OFFSET + _INDICES * self.octaves)
        mean, correction = self.head(x, rate).chunk(2, 1)
        index, mean = distribution(mean, correction * CORRECTION_UNIT, scale)
        return Step(index=index, mean=mean)


def seen(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Values, in 1/16 of a symbol, as activations: signed planes (B, 2C, H, W) and magnitudes."""
    quarters = round_clamp(values * _QUARTERS, -_LARGEST_SEEN, _LARGEST_SEEN)
    signed, plain = signed_planes(quarters, dtype), magnitudes(quarters, dtype)
    layout = torch.channels_last
    return signed.contiguous(memory_format=layout), plain.contiguous(memory_format=layout)
