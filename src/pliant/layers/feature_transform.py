"""Spatial feature transform: a map of conditions scales and shifts features at every position.

Song, Choi and Han, "Variable-Rate Deep Image Compression through Spatially-Adaptive Feature
Transform" (ICCV 2021).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.convolutions import same

WIDTH = 16  # of conditions, a quarter of the published one, and of the layers between


class FeatureTransform(nn.Module):
    """x * (1 + gamma) + beta, both from the condition at the same place; at first the identity.

    Args:
        channels: of x.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden, self.last = same(WIDTH, WIDTH), same(WIDTH, 2 * channels)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gamma, beta = self.last(F.leaky_relu(self.hidden(condition))).chunk(2, 1)
        out: Tensor = x * (1 + gamma) + beta
        return out


class Conditions(nn.Module):
    """Planes (B, inputs, H, W) to conditions of so many scales, the first of the same size.

    Args:
        growing: every scale is twice the size of the one before, else half.
    """

    def __init__(self, inputs: int, scales: int, growing: bool = False) -> None:
        super().__init__()
        self.growing = growing
        others = (same(WIDTH, WIDTH, 1 if growing else 2) for _ in range(scales - 1))
        self.layers = nn.ModuleList([same(inputs, WIDTH), *others])

    def forward(self, x: Tensor) -> list[Tensor]:
        """One condition (B, WIDTH, h, w) for each scale."""
        found: list[Tensor] = []
        for layer in self.layers:
            if found and self.growing:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.leaky_relu(layer(x))
            found.append(x)
        return found
