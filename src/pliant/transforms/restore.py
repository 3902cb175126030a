"""A small restoration network after the synthesis: estimates what quantisation took away.

Works at quarter resolution on 4x4 blocks, with gains and biases per channel that depend on the rate
parameter. It sees the picture less its local mean and returns a correction, both in units of the
error that the rate is expected to leave: the same weights then serve every rate. Untrained, it
changes nothing. It matters below about 1 bpp and is skipped above.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.exact import RateVector
from pliant.layers.quantize import step_size
from pliant.units import ANCHORS, RATE_UNIT

BLOCK = 4
FIRST_RATE = 2 * RATE_UNIT  # finer steps leave nothing to restore
INPUT_UNIT = 4.0  # inputs are in so many expected errors ...
INPUT_MAX = 8.0  # ... and limited: how strong a strong edge is says nothing about its error


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
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(sizes)
        )
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(ANCHORS, c)) for c in sizes[1:])
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(ANCHORS, c)) for c in sizes[1:])
        last = self.convs[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)
        with torch.no_grad():  # the correction fades in from nothing at FIRST_RATE
            self.gains[-1][: FIRST_RATE // RATE_UNIT + 1] = 0

    def forward(self, image: Tensor, rate: RateVector) -> Tensor:
        """`image`: 0..255, unclamped; the same shape comes back."""
        if not self.width or bool((rate.rate <= FIRST_RATE).all()):
            return image
        unit = expected_error(rate.rate)[:, None, None, None]
        hidden = _contrast(image).mul_(1 / (INPUT_UNIT * unit)).clamp_(-INPUT_MAX, INPUT_MAX)
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        last = len(self.convs) - 1
        for i, conv in enumerate(self.convs):
            y = conv(hidden) * _at(self.gains[i], rate) + _at(self.biases[i], rate)
            hidden = y if i == last else hidden + F.relu(y) if i > 0 else F.relu(y)
        faded = (rate.rate > FIRST_RATE).float()[:, None, None, None] * unit
        return image + F.pixel_shuffle(hidden, BLOCK) * faded


def expected_error(rate: Tensor) -> Tensor:
    """Root mean squared error of a typical photo at a rate parameter, measured within 30 %."""
    return 0.4 * step_size(rate) ** 0.75


def _contrast(image: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 48, H/4, W/4), less the mean of about 20 pixels around."""
    mean = F.avg_pool2d(image, BLOCK)
    mean = F.avg_pool2d(mean, 5, stride=1, padding=2, count_include_pad=False)
    blocks = F.pixel_unshuffle(image, BLOCK)
    return blocks - mean.repeat_interleave(BLOCK * BLOCK, 1)


def _at(anchors: Tensor, rate: RateVector) -> Tensor:
    f = (rate.position / RATE_UNIT).to(anchors.dtype)[:, None]
    low, high = anchors[rate.anchor], anchors[rate.anchor + 1]
    return (low * (1 - f) + high * f)[:, :, None, None]
