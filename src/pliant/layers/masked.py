"""A convolution that sees only what comes before in raster order."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TAPS = (
    *((row, column) for row in (-2, -1) for column in range(-2, 3)),
    *((0, column) for column in (-2, -1)),
)
"""(row, column) of the samples that a position sees, relative to it."""


class MaskedConv2d(nn.Module):
    """5x5 convolution whose weights are zero from the centre on.

    Van den Oord et al., "Pixel Recurrent Neural Networks" (ICML 2016, section 3.4, mask A). Keeps
    the size, with zeros around.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        dense = nn.Conv2d(inputs, outputs, 5)
        self.weight, self.bias = dense.weight, dense.bias

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(5, 5, device=x.device)
        mask[2, 2:] = 0
        mask[3:] = 0
        return F.conv2d(x, self.weight * mask, self.bias, padding=2)

    def matrix(self) -> Tensor:
        """The weights of `TAPS` as (outputs, taps * inputs), for positions one by one."""
        taps = [self.weight[:, :, 2 + row, 2 + column] for row, column in TAPS]
        return torch.cat(taps, 1).contiguous()
