"""The post-net of MSINN: a small U-Net that corrects the decoded picture.

Tu et al., "Multi-Scale Invertible Neural Network for Wide-Range Variable-Rate Learned Image
Compression" (IEEE Transactions on Multimedia 2025). Its excitation pools the whole picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.convolutions import point, same
from pliant.layers.residual import Residual

_SHARE = 0.3  # of the correction
_REDUCTION = 16  # of channels within an excitation
_MIDDLE = 4  # residual blocks at the coarsest size


class SqueezeExcite(nn.Module):
    """Hu, Shen and Sun, "Squeeze-and-Excitation Networks" (CVPR 2018): channels by their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // _REDUCTION)
        self.squeeze = nn.Linear(channels, inner, bias=False)
        self.excite = nn.Linear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        share: Tensor = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        return x * share[:, :, None, None]


class PostNet(nn.Module):
    """x plus a correction of it; sizes are multiples of four.

    Args:
        width: channels at full size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        a, b, c, d = width, 2 * width, 4 * width, 8 * width
        self.first, self.last = same(3, a), same(a, 3)
        self.at_full, self.at_half, self.at_quarter = _block(a, b), _block(b, c), _block(c, d)
        self.middle = nn.Sequential(*(Residual(_activated_first(d)) for _ in range(_MIDDLE)))
        self.up_half, self.join_half = _up(d, c), _block(d, c)
        self.up_fine, self.join_fine = _up(c, b), _block(c, a)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.at_full(self.first(x))
        half = self.at_half(F.max_pool2d(fine, 2))
        quarter = self.middle(self.at_quarter(F.max_pool2d(half, 2)))
        half = self.join_half(torch.cat((self.up_half(quarter), half), 1))
        fine = self.join_fine(torch.cat((self.up_fine(half), fine), 1))
        corrected: Tensor = x + _SHARE * self.last(fine)
        return corrected


def _block(inputs: int, outputs: int) -> Residual:
    path = [same(inputs, outputs), nn.LeakyReLU(), same(outputs, outputs), SqueezeExcite(outputs)]
    return Residual(path, point(inputs, outputs))


def _activated_first(channels: int) -> list[nn.Module]:
    return [nn.ReLU(), same(channels, channels), nn.ReLU(), same(channels, channels)]


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(point(inputs, 4 * outputs), nn.PixelShuffle(2))
