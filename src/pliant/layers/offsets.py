"""Learnt reconstruction offsets: a decoded value lies nearer to its mean than its symbol says.

Kamisli, Racape and Choi, "Variable-Rate Learned Image Compression with Multi-Objective Optimization
and Quantization-Reconstruction Offsets" (DCC 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pliant.entropy.families import SMALLEST_SCALE

HIDDEN = 12


class Offsets(nn.Module):
    """(scale, gain) of a value to how far it moves outwards, in quantiser steps; 205 parameters.

    One network for all channels and positions. Starts at zero for everything.
    """

    def __init__(self) -> None:
        super().__init__()
        last = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        hidden = nn.Linear(2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()
        self.net = nn.Sequential(*hidden, last)

    def forward(self, scale: Tensor, gain: Tensor) -> Tensor:
        """Offsets (N,) of values with these standard deviations, in steps, at these gains."""
        inputs = torch.stack((scale.clamp(min=SMALLEST_SCALE), gain), -1)
        out: Tensor = -self.net(inputs)[..., 0]
        return out


@dataclass(frozen=True)
class Correction:
    """The offsets at the gains of a batch.

    Attributes:
        offsets: None for a method that has none.
        gain: (B, 1 or C, 1, 1).
    """

    offsets: Offsets | None
    gain: Tensor

    def __call__(self, values: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Values (B, C, H, W), in steps, with their offsets: none where the symbol is zero.

        Gradients reach the values as if there were none, and the network; not mean and scale.
        """
        if self.offsets is None:
            return values
        symbols = (values - mean).detach().round()
        coded = symbols != 0
        scales, gains = (x.detach().expand_as(values)[coded] for x in (scale, self.gain))
        moved = values.clone()
        moved[coded] = values[coded] + symbols[coded].sign() * self.offsets(scales, gains)
        return moved
