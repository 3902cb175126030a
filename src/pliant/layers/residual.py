"""Residual blocks and attention of Cheng et al.

Cheng, Sun, Takeuchi and Katto, "Learned Image Compression with Discretized Gaussian Mixture
Likelihoods and Attention Modules" (CVPR 2020, figures 4 and 5).
"""

from __future__ import annotations

from torch import Tensor, nn

from pliant.layers.convolutions import point, same, subpixel
from pliant.layers.gdn import GDN


class Residual(nn.Module):
    """x through `path`, plus x through `shortcut` (x itself without one)."""

    def __init__(self, path: list[nn.Module], shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.path, self.shortcut = nn.Sequential(*path), shortcut

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.path(x) + (x if self.shortcut is None else self.shortcut(x))
        return added


def block(channels: int) -> Residual:
    """Two 3x3 convolutions."""
    path = [same(channels, channels), nn.LeakyReLU(), same(channels, channels), nn.LeakyReLU()]
    return Residual(path)


def shrinking(inputs: int, channels: int) -> Residual:
    """Half the size."""
    path = [same(inputs, channels, 2), nn.LeakyReLU(), same(channels, channels), GDN(channels)]
    return Residual(path, point(inputs, channels, 2))


def growing(channels: int) -> Residual:
    """Twice the size."""
    path = [
        subpixel(channels, channels),
        nn.LeakyReLU(),
        same(channels, channels),
        GDN(channels, inverse=True),
    ]
    return Residual(path, subpixel(channels, channels))


class Attention(nn.Module):
    """x + features * sigmoid(mask), each from three residual units."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*(_unit(channels) for _ in range(3)))
        self.mask = nn.Sequential(*(_unit(channels) for _ in range(3)), point(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.features(x) * self.mask(x).sigmoid()
        return out


def _unit(channels: int) -> nn.Sequential:
    half = channels // 2
    path = [point(channels, half), nn.ReLU(), same(half, half), nn.ReLU(), point(half, channels)]
    return nn.Sequential(Residual(path), nn.ReLU())
