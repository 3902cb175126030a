"""The loops of restoration around its convolutions (numba); see `fused` for their rules.

Planes of blocks are ordered as `torch.pixel_unshuffle` orders them: colour, row, column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pliant.entropy.jit import jit
from pliant.layers.fused import compand

_F = np.float32
_I = np.int32


@jit
def _row(
    picture: Any, y: Any, unit: Any, whole: Any, padded: Any, sums: Any, reach: Any, out: Any
) -> None:
    """Companded differences of row y of one colour from the local mean; out: [sign, columns]."""
    height, width = picture.shape
    margin = 2 * reach
    sums[:] = _F(0)
    for d in range(-reach, reach + 1):
        near = min(max(y // 2 + d, 0), height // 2 - 1)
        row = picture[2 * near + y % 2]
        for x in range(width):
            sums[x] += np.rint(row[x] * whole)
    padded[margin : margin + width] = sums
    for x in range(margin):
        padded[x] = sums[x % 2]
        padded[margin + width + x] = sums[width - 2 + x % 2]
    area = _F((2 * reach + 1) ** 2)
    row = picture[y]
    for x in range(width):
        total = _F(0)
        for d in range(2 * reach + 1):
            total += padded[x + 2 * d]
        value = np.rint((np.rint(row[x] * whole) * area - total) * unit)
        companded = compand(abs(value))
        out[0, x] = companded if value > _F(0) else np.uint8(0)
        out[1, x] = companded if value < _F(0) else np.uint8(0)


@jit
def contrast(
    first: Any, last: Any, picture: Any, units: Any, whole: Any, reach: Any, planes: Any
) -> None:
    """`restoration.contrast`, for the rows of blocks [first, last) of all pictures.

    picture: float32 [B, C, 2h, 2w]; units: float32 [B]; planes: uint8 [B, h, w, 8 * C].
    """
    height, colours, width = planes.shape[1], picture.shape[1], picture.shape[3]
    sums, padded = np.empty(width, _F), np.empty(width + 4 * reach, _F)
    out = np.empty((2, width), np.uint8)
    for r in range(first, last):
        b, target = r // height, planes[r // height, r % height]
        for colour in range(colours):
            for i in range(2):
                y = 2 * (r % height) + i
                _row(picture[b, colour], y, units[b], whole, padded, sums, reach, out)
                for sign in range(2):
                    channel = 4 * (colours * sign + colour) + 2 * i
                    for x in range(len(target)):
                        target[x, channel] = out[sign, 2 * x]
                        target[x, channel + 1] = out[sign, 2 * x + 1]


@jit
def join(first: Any, last: Any, coarse: Any, fine: Any, out: Any) -> None:
    """`restoration.join`, for the rows [first, last) of `coarse` of all pictures.

    coarse: float32 [B, h, w, 4 * C]; fine, out: uint8 [B, 2h, 2w, C].
    """
    height, channels = coarse.shape[1], fine.shape[3]
    for r in range(first, last):
        b, y = r // height, r % height
        for x in range(coarse.shape[2]):
            source = coarse[b, y, x]
            for i in range(2):
                for j in range(2):
                    before, target = fine[b, 2 * y + i, 2 * x + j], out[b, 2 * y + i, 2 * x + j]
                    cell = source[2 * i + j :]
                    for c in range(channels):
                        total = np.rint(cell[4 * c] + _F(before[c]))
                        target[c] = np.uint8(_I(min(max(total, _F(0)), _F(127))))


@jit
def correct(
    first: Any, last: Any, picture: Any, correction: Any, sizes: Any, corrected: Any
) -> None:
    """`restoration.correct`, for the rows of blocks [first, last) of all pictures.

    picture, corrected: float32 [B, C, 2h, 2w]; correction: float32 [B, h, w, 4 * C]; sizes: [B].
    """
    height = correction.shape[1]
    for r in range(first, last):
        b, y = r // height, r % height
        source, size = correction[b, y], sizes[b]
        for colour in range(picture.shape[1]):
            for i in range(2):
                before = picture[b, colour, 2 * y + i]
                after = corrected[b, colour, 2 * y + i]
                channel = 4 * colour + 2 * i
                for x in range(len(source)):
                    after[2 * x] = before[2 * x] + source[x, channel] * size
                    after[2 * x + 1] = before[2 * x + 1] + source[x, channel + 1] * size
