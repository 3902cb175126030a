"""Convolutions that see only some of the samples around a position."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Taps = tuple[tuple[int, int], ...]

TAPS: Taps = (
    *((row, column) for row in (-2, -1) for column in range(-2, 3)),
    *((0, column) for column in (-2, -1)),
)
"""(row, column) of the samples that a position sees, relative to it: those before in raster order.

Van den Oord et al., "Pixel Recurrent Neural Networks" (ICML 2016, section 3.4, mask A).
"""

EDGES: Taps = ((-1, 0), (0, -1), (0, 1), (1, 0))
"""The four nearest, which lie in the other half of a checkerboard."""

SAME_HALF: Taps = ((-1, -1), (-1, 1), (0, 0), (1, -1), (1, 1))
"""The position itself and its diagonal neighbours, which lie in the same half."""


class MaskedConv2d(nn.Module):
    """Convolution whose weights are zero but for `taps`; keeps the size, with zeros around.

    The weights themselves stay as they are: the mask is applied to a copy.
    """

    def __init__(self, inputs: int, outputs: int, taps: Taps = TAPS, kernel: int = 5) -> None:
        super().__init__()
        dense = nn.Conv2d(inputs, outputs, kernel)
        self.weight, self.bias = dense.weight, dense.bias
        self.taps, self.reach = taps, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(self.weight.shape[2:])
        for row, column in self.taps:
            mask[self.reach + row, self.reach + column] = 1
        return F.conv2d(x, self.weight * mask.to(x.device), self.bias, padding=self.reach)

    def matrix(self) -> Tensor:
        """The weights of the taps as (outputs, taps * inputs), for positions one by one."""
        taps = [self.weight[:, :, self.reach + r, self.reach + c] for r, c in self.taps]
        return torch.cat(taps, 1).contiguous()
