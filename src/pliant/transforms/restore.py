"""A small restoration network after the synthesis: estimates what quantisation took away.

Works at quarter resolution on 4x4 blocks, with gains and biases per channel that depend on the rate parameter. Its
correction is in units of the quantiser step. It matters below about 1 bpp and is skipped above.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.exact import RateVector
from pliant.layers.quantize import step_size
from pliant.units import ANCHORS, RATE_UNIT

BLOCK = 4
FIRST_RATE = 2 * RATE_UNIT  # finer steps leave nothing to restore


class RestorationNet(nn.Module):
    """Residual network on (B, 3, H, W) images; H and W multiples of 4.

    Args:
        width: channels of the hidden layers; 0 switches the network off.
        depth: hidden 3x3 convolutions between the first and the last.
    """

    def __init__(self, width: int = 40, depth: int = 3) -> None:
        super().__init__()
        self.width = width
        if not width:
            return
        sizes = [3 * BLOCK * BLOCK, *[width] * (depth + 1), 3 * BLOCK * BLOCK]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in zip(sizes, sizes[1:], strict=False))
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(ANCHORS, c)) for c in sizes[1:])
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(ANCHORS, c)) for c in sizes[1:])
        nn.init.normal_(self.convs[-1].weight, std=1e-3)
        with torch.no_grad():  # the correction fades in from nothing at FIRST_RATE
            self.gains[-1][: FIRST_RATE // RATE_UNIT + 1] = 0

    def forward(self, image: Tensor, rate: RateVector) -> Tensor:
        """`image`: 0..255, unclamped; the same shape comes back."""
        if not self.width or bool((rate.rate <= FIRST_RATE).all()):
            return image
        step = step_size(rate.rate)[:, None, None, None]
        x = F.pixel_unshuffle((image - 128.0) / 64.0, BLOCK).contiguous(memory_format=torch.channels_last)
        hidden = x
        last = len(self.convs) - 1
        for i, conv in enumerate(self.convs):
            y = conv(hidden) * _at(self.gains[i], rate) + _at(self.biases[i], rate)
            hidden = y if i == last else hidden + F.relu(y) if 0 < i else F.relu(y)
        faded = (rate.rate > FIRST_RATE).float()[:, None, None, None] * step * (1 / 8)
        return image + F.pixel_shuffle(hidden, BLOCK) * faded


def _at(anchors: Tensor, rate: RateVector) -> Tensor:
    f = (rate.position / RATE_UNIT).to(anchors.dtype)[:, None]
    return (anchors[rate.anchor] * (1 - f) + anchors[rate.anchor + 1] * f)[:, :, None, None]
