"""The cells of a 2x2 block of samples, and the checkerboard halves that they form.

Coding one half from the other is the two-pass checkerboard of He et al., "Checkerboard Context
Model for Efficient Learned Image Compression" (CVPR 2021, section 3.2). Taken cell by cell, a half
is a dense tensor at half the resolution (space to depth), so no arithmetic is spent on samples that
a mask would discard.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from pliant.layers import loops

Cell = tuple[int, int]  # (row, column) within a block
Cells = tuple[Cell, ...]

# Each half holds a diagonal of every block: a sample's four direct neighbours lie in the other.
A: Cells = ((0, 0), (1, 1))
B: Cells = ((0, 1), (1, 0))
ALL_CHANNELS = slice(None)


def take(x: Tensor, cells: Cells, channels: slice = ALL_CHANNELS) -> Tensor:
    """The samples in these cells, cell-major.

    Args:
        x: (B, C, H, W), H and W even.
        channels: which of the C channels.

    Returns:
        (B, cells * channels, H/2, W/2).
    """
    if loops.compilable(x):
        return _take_compiled(x[:, channels], cells)
    return torch.cat([x[:, channels, i::2, j::2] for i, j in cells], 1)


def put(x: Tensor, cells: Cells, samples: Tensor, channels: slice = ALL_CHANNELS) -> None:
    """Inverse of `take`: writes (B, cells * C, H/2, W/2) into x (B, C, H, W), in place."""
    if loops.compilable(x):
        rows = len(x) * x.shape[2] // 2
        source = loops.channels_last(samples)
        target = x[:, channels].detach().numpy()
        loops.in_slices(_fused().put, rows, source[0, 0].size, target, np.array(cells), source)
        return
    for (i, j), part in zip(cells, samples.chunk(len(cells), 1), strict=True):
        x[:, channels, i::2, j::2] = part


def _take_compiled(x: Tensor, cells: Cells) -> Tensor:
    batch, channels, height, width = x.shape
    shape = batch, len(cells) * channels, height // 2, width // 2
    samples, target = loops.empty(shape, torch.float32)
    rows = batch * (height // 2)
    loops.in_slices(
        _fused().take, rows, target[0, 0].size, x.detach().numpy(), np.array(cells), target
    )
    return samples


def _fused() -> ModuleType:
    from pliant.layers import fused

    return fused
