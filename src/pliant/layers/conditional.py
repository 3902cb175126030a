"""Conditional convolutions: every rate level scales and shifts a layer's outputs in its own way.

Choi, El-Khamy and Lee, "Variable Rate Deep Image Compression With a Conditional Autoencoder" (ICCV
2019): levels are discrete; rates in between come from the size of the quantiser's bins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.variable import level_rates
from pliant.units import RATE_MAX


def nearest_level(rate: Tensor) -> Tensor:
    """One-hot (B, 8) of the level, coarse first, whose rate parameter is nearest."""
    rates = torch.tensor(level_rates(), device=rate.device)
    return F.one_hot((rate[:, None] - rates).abs().argmin(1), len(rates)).float()


def rates_near(level: int) -> Tensor:
    """All rate parameters to which a level is the nearest."""
    rates = torch.arange(RATE_MAX + 1)
    return rates[nearest_level(rates)[:, level] == 1]


class LevelModulation(nn.Module):
    """softplus(u) * x + v of the outputs of a convolution, u and v of each level and channel.

    The paper's equation 5. It starts as the identity; the convolution keeps the bias that it has.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        levels = len(level_rates())
        self.scale = nn.Parameter(torch.full((levels, channels), math.log(math.expm1(1))))
        self.shift = nn.Parameter(torch.zeros(levels, channels))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Outputs (B, C, H, W) at the levels of `nearest_level`."""
        scale, shift = F.softplus(level @ self.scale), level @ self.shift
        return x * scale[:, :, None, None] + shift[:, :, None, None]
