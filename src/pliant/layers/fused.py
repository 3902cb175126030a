"""The loops of a coding pass, each of several torch operations in one walk over memory (numba).

Everything is in the order of the file: positions (rows x columns), then channels. Each loop gives
exactly what the torch operations named in its docstring give; those are the definition. A loop does
the numbers [first, last) of its positions or rows, so that threads can share the work.

Arithmetic is in float32 wherever that is exact: numba widens 32-bit integers to 64 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pliant.entropy.jit import jit

_F = np.float32
_I = np.int32
_ZERO, _ONE = _F(0), _F(1)
_ACTIVATION_MAX = _F(127)
_INDEX_MAX, _MEAN_MAX, _CORRECTION_MAX = _F(63), _F(4095), _F(2048)
_EIGHTH, _SIXTEENTH, _SIXTY_FOURTH = _F(1 / 8), _F(1 / 16), _F(1 / 64)


@jit
def compand(magnitude: Any) -> Any:
    """`integers.compand` of one magnitude."""
    bits = _F(magnitude + _ONE).view(_I)
    return np.uint8(min(_I(bits >> 19), _I(2032 + 127)) - 2032)  # 2032: the exponent of 1.0


@jit
def expect(
    first: Any, last: Any, spread: Any, offset: Any, scale: Any, near: Any, channel: Any
) -> None:
    """`integers.log_index` less an offset, and the level (`integers.level_of`).

    spread: float32 [n, P]; scale: int16 [n, P]; near: uint8 [n, K], from `channel` on.
    """
    spread, scale, near = spread[first:last], scale[first:last], near[first:last]
    planes = spread.shape[1]
    for p in range(len(spread)):
        level = near[p, channel : channel + planes]
        for c in range(planes):
            bits = _F(max(spread[p, c], _ONE)).view(_I)
            log2 = _F(_I(_I(bits >> 16) - 16256))  # 16256: the exponent of 1.0
            index = _F(np.floor(log2 * _F(0.625))) - offset
            scale[p, c] = _I(index)
            level[c] = np.uint8(_I(min(max(np.rint(index * _EIGHTH), _ZERO), _ACTIVATION_MAX)))


@jit
def distribute(
    first: Any, last: Any, out: Any, unit: Any, scale: Any, index: Any, mean: Any
) -> None:
    """`integers.distribution`.

    out: float32 [n, 2P], means and then corrections, times `unit`; scale: int16 [n, P]; index:
    uint8 [n, P]; mean: int16 [n, P].
    """
    out, scale, index, mean = (
        out[first:last],
        scale[first:last],
        index[first:last],
        mean[first:last],
    )
    planes = scale.shape[1]
    for p in range(len(scale)):
        means, corrections = out[p, :planes], out[p, planes : 2 * planes]
        for c in range(planes):
            correction = np.rint(corrections[c] * unit)
            correction = min(max(correction, -_CORRECTION_MAX), _CORRECTION_MAX)
            moved = np.rint((correction + _F(scale[p, c])) * _SIXTEENTH)
            index[p, c] = np.uint8(_I(min(max(moved, _ZERO), _INDEX_MAX)))
            mean[p, c] = _I(min(max(np.rint(means[c]), -_MEAN_MAX), _MEAN_MAX))


@jit
def tell(
    first: Any, last: Any, symbols: Any, around: Any, at: Any, near: Any, channel: Any
) -> None:
    """`integers.magnitudes` and `integers.signed_planes`.

    symbols: int32 [n, P]; around: uint8 [n, K], magnitudes from `at` on; near: uint8 [n, L], signed
    planes from `channel` on.
    """
    symbols, around, near = symbols[first:last], around[first:last], near[first:last]
    planes = symbols.shape[1]
    for p in range(len(symbols)):
        magnitudes = around[p, at : at + planes]
        positive = near[p, channel : channel + planes]
        negative = near[p, channel + planes : channel + 2 * planes]
        for c in range(planes):
            value = _F(symbols[p, c])
            magnitude = abs(value)
            magnitudes[c] = np.uint8(_I(min(magnitude, _ACTIVATION_MAX)))
            companded = compand(magnitude)
            positive[c] = companded if value > _ZERO else np.uint8(0)
            negative[c] = companded if value < _ZERO else np.uint8(0)


@jit
def activate(first: Any, last: Any, total: Any, out: Any) -> None:
    """Rounded, within [0, 127]; float32 [n] to uint8 [n]."""
    total, out = total[first:last], out[first:last]
    for p in range(len(total)):
        out[p] = np.uint8(_I(min(max(np.rint(total[p]), _ZERO), _ACTIVATION_MAX)))


@jit
def _planes(values: Any, magnitudes: Any, positive: Any, negative: Any) -> None:
    """What `tell` does at a position, for a whole row; there a call would double the time."""
    for x in range(len(values)):
        value = values[x]
        magnitude = abs(value)
        magnitudes[x] = np.uint8(_I(min(magnitude, _ACTIVATION_MAX)))
        companded = compand(magnitude)
        positive[x] = companded if value > _ZERO else np.uint8(0)
        negative[x] = companded if value < _ZERO else np.uint8(0)


@jit
def totals(first: Any, last: Any, picture: Any, total: Any) -> None:
    """Sums of 2x2 blocks, float32 [2n, 2w] to [n, w]."""
    for r in range(first, last):
        upper, lower, out = picture[2 * r], picture[2 * r + 1], total[r]
        for x in range(len(out)):
            out[x] = upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]


@jit
def _contrast(
    upper: Any, lower: Any, above: Any, here: Any, below: Any, padded: Any, out: Any
) -> None:
    """`surroundings.local_contrast` of a row of blocks of one colour; out: [cells, columns].

    padded: room for two more columns.
    """
    width = len(here)
    for x in range(width):
        padded[x + 1] = above[x] + _F(2) * here[x] + below[x]
    padded[0], padded[width + 1] = padded[1], padded[width]
    left, middle, right = padded[:width], padded[1 : width + 1], padded[2:]
    for x in range(width):
        blurred = (left[x] + _F(2) * middle[x] + right[x]) * _SIXTY_FOURTH
        out[0, x] = np.rint(upper[2 * x] - blurred)
        out[1, x] = np.rint(lower[2 * x + 1] - blurred)
        out[2, x] = np.rint(upper[2 * x + 1] - blurred)
        out[3, x] = np.rint(lower[2 * x] - blurred)


@jit
def begin(
    first: Any,
    last: Any,
    parent: Any,
    picture: Any,
    total: Any,
    state: Any,
    inputs: Any,
    around: Any,
) -> None:
    """What a level sees of the coarser ones, for the rows [first, last) of all pictures.

    parent: float32 [B, 9, h, w]; picture: float32 [B, 3, 2h, 2w]; total: [B, 3, h, w], see
    `totals`; state: uint8 [B, h or h/2, w or w/2, S]; inputs: uint8 [B, h, w, 42 + S], signed
    planes of parent and contrast, and the state; around: uint8 [B, h, w, 21 or more], their
    magnitudes.
    """
    height, width = total.shape[2], total.shape[3]
    halved = np.uint64(height // state.shape[1] - 1)
    magnitudes, signed = np.empty((21, width), np.uint8), np.empty((42, width), np.uint8)
    contrast, padded = np.empty((4, width), _F), np.empty(width + 2, _F)
    for r in range(first, last):
        b, y = r // height, r % height
        for c in range(9):
            _planes(parent[b, c, y], magnitudes[c], signed[c], signed[9 + c])
        for colour in range(3):
            sums, rows = total[b, colour], picture[b, colour]
            above, below = sums[max(y - 1, 0)], sums[min(y + 1, height - 1)]
            _contrast(rows[2 * y], rows[2 * y + 1], above, sums[y], below, padded, contrast)
            for cell in range(4):
                c = 3 * cell + colour
                _planes(contrast[cell], magnitudes[9 + c], signed[18 + c], signed[30 + c])
        for x in range(width):
            seen, near = inputs[b, y, x], around[b, y, x]
            for c in range(21):
                near[c] = magnitudes[c, x]
            for c in range(42):
                seen[c] = signed[c, x]
            coarse = state[b, np.uint64(y) >> halved, np.uint64(x) >> halved]
            for c in range(len(coarse)):
                seen[42 + c] = coarse[c]


@jit
def take(first: Any, last: Any, planes: Any, cells: Any, samples: Any) -> None:
    """`cells.take` of rows of blocks: planes [B, C, 2h, 2w] to samples [B, h, w, cells * C]."""
    height, channels = samples.shape[1], planes.shape[1]
    for r in range(first, last):
        b, y = r // height, r % height
        target = samples[b, y]
        for k in range(len(cells)):
            for c in range(channels):
                row = planes[b, c, 2 * y + cells[k, 0], cells[k, 1] :]
                channel = k * channels + c
                for x in range(len(target)):
                    target[x, channel] = row[2 * x]


@jit
def put(first: Any, last: Any, planes: Any, cells: Any, samples: Any) -> None:
    """Inverse of `take`."""
    height, channels = samples.shape[1], planes.shape[1]
    for r in range(first, last):
        b, y = r // height, r % height
        source = samples[b, y]
        for k in range(len(cells)):
            for c in range(channels):
                row = planes[b, c, 2 * y + cells[k, 0], cells[k, 1] :]
                channel = k * channels + c
                for x in range(len(source)):
                    row[2 * x] = source[x, channel]


@jit
def dequantise(first: Any, last: Any, symbols: Any, step: Any, one: Any, latents: Any) -> None:
    """`quantize.Gains.dequantise` of planes; float32 [n, h, w], a step for each of the n."""
    for n in range(first, last):
        size = step[n]
        for y in range(symbols.shape[1]):
            row, out = symbols[n, y], latents[n, y]
            for x in range(len(row)):
                value = row[x]
                out[x] = (value * one if abs(value) == _ONE else value) * size
