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
def _add(row: Any, whole: Any, sign: Any, sums: Any) -> None:
    """Adds a row of pixels to sums over rows, or takes it off."""
    for x in range(len(row)):
        sums[x] += sign * np.rint(row[x] * whole)


@jit
def _row(
    row: Any, sums: Any, unit: Any, whole: Any, padded: Any, total: Any, reach: Any, out: Any
) -> None:
    """Companded differences of a row from the local mean; out: [sign, columns].

    sums: of the rows around it; padded, total: room for a row, `padded` with margins.
    """
    width, margin = len(row), 2 * reach
    padded[margin : margin + width] = sums
    for x in range(margin):
        padded[x] = sums[x % 2]
        padded[margin + width + x] = sums[width - 2 + x % 2]
    area = _F((2 * reach + 1) ** 2)
    for x in range(width):
        total[x] = np.rint(row[x] * whole) * area
    for d in range(2 * reach + 1):
        near = padded[2 * d : 2 * d + width]
        for x in range(width):
            total[x] -= near[x]
    positive, negative = out[0], out[1]
    for x in range(width):
        value = np.rint(total[x] * unit)
        companded = compand(abs(value))
        positive[x] = companded if value > _F(0) else np.uint8(0)
        negative[x] = companded if value < _F(0) else np.uint8(0)


@jit
def contrast(
    first: Any, last: Any, picture: Any, units: Any, whole: Any, reach: Any, planes: Any
) -> None:
    """`restoration.contrast`, for the rows of blocks [first, last) of all pictures.

    picture: float32 [B, C, 2h, 2w]; units: float32 [B]; planes: uint8 [B, h, w, 8 * C].
    """
    height, colours, width = planes.shape[1], picture.shape[1], picture.shape[3]
    whole = _F(whole)
    sums = np.empty((colours, 2, width), _F)  # of rows around, of the same place in blocks
    padded, total = np.empty(width + 4 * reach, _F), np.empty(width, _F)
    out = np.empty((2, colours, 2, width), np.uint8)
    # pixels of a block that are neighbours in a row remain neighbours: two bytes at a time
    pairs, targets = out.view(np.uint16).reshape(4 * colours, -1), planes.view(np.uint16)
    for r in range(first, last):
        b, y = r // height, r % height
        for colour in range(colours):
            for i in range(2):
                rows, around = picture[b, colour, i::2], sums[colour, i]
                if y == 0 or r == first:
                    around[:] = _F(0)
                    for d in range(-reach, reach + 1):
                        _add(rows[min(max(y + d, 0), height - 1)], whole, _F(1), around)
                else:  # sums are integers, and stay exact
                    _add(rows[min(y + reach, height - 1)], whole, _F(1), around)
                    _add(rows[max(y - reach - 1, 0)], whole, _F(-1), around)
                differences = out[:, colour, i]
                _row(rows[y], around, units[b], whole, padded, total, reach, differences)
        row = targets[b, y]
        for n in range(len(pairs)):
            source = pairs[n]
            for x in range(len(source)):
                row[x, n] = source[x]


@jit
def join(first: Any, last: Any, coarse: Any, fine: Any, out: Any) -> None:
    """`restoration.join`, for the rows [first, last) of `coarse` of all pictures.

    coarse: float32 [B, h, w, 4 * C]; fine, out: uint8 [B, 2h, 2w, C].
    """
    height, channels = coarse.shape[1], fine.shape[3]
    cells = np.empty((4, channels), _F)
    for r in range(first, last):
        b, y = r // height, r % height
        for x in range(coarse.shape[2]):
            source = coarse[b, y, x]
            for c in range(channels):
                for k in range(4):
                    cells[k, c] = source[4 * c + k]
            for k in range(4):
                row, column, cell = 2 * y + k // 2, 2 * x + k % 2, cells[k]
                before, target = fine[b, row, column], out[b, row, column]
                for c in range(channels):
                    total = np.rint(cell[c] + _F(before[c]))
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
