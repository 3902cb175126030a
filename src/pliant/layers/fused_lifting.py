"""One level of the lifting wavelet in a single walk over memory (numba); few rows are kept.

Each loop gives exactly what `lifting.split_2d`, `merge_2d` and their exact siblings give; those are
the definition. A loop does the rows [first, last) of the low band of all planes, together: row r is
row r % h of plane r // h. At the ends of its rows it repeats what a neighbour also computes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from pliant.entropy.jit import jit

_F = np.float32


def _fused_multiply_add(_context: Any, a: Any, b: Any, c: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    if (a, b, c) != (types.float32,) * 3:
        return None
    return types.float32(types.float32, types.float32, types.float32), generate


# a * b + c, rounded once, as torch adds with a factor.
_fma: Any = intrinsic(_fused_multiply_add)


@jit
def _lift(x: Any, a: Any, b: Any, tap: Any, limit: Any) -> None:
    """`lifting.lift_float` of a row, in place, with neighbours a + b; `lift_exact` with a limit."""
    if limit > 0:
        for i in range(len(x)):
            lifted = _F(np.rint((a[i] + b[i]) * tap)) + x[i]
            x[i] = min(max(lifted, -limit), limit)
    else:
        for i in range(len(x)):
            x[i] = _fma(tap, a[i] + b[i], x[i])


@jit
def _lift_along(x: Any, other: Any, step: Any, tap: Any, limit: Any) -> None:
    """`_lift` within a row: x[i] by other[i] and other[i + step], step -1 or 1."""
    last = len(x) - 1
    if step > 0:
        _lift(x[:last], other[:last], other[1:], tap, limit)
        _lift(x[last:], other[last:], other[last:], tap, limit)
    else:
        _lift(x[1:], other[1:], other[:last], tap, limit)
        _lift(x[:1], other[:1], other[:1], tap, limit)


@jit
def _scale(x: Any, scales: Any, low: Any, limit: Any, out: Any) -> None:
    """A row of a low band over, of a high band times its scale; in integers both are factors."""
    factor = scales[0] if low else scales[1]
    if limit > 0:
        for i in range(len(out)):
            out[i] = min(max(_F(np.rint(x[i] * factor)), -limit), limit)
    elif low:
        for i in range(len(out)):
            out[i] = x[i] / factor
    else:
        for i in range(len(out)):
            out[i] = x[i] * factor


@jit
def _merge_along(even: Any, odd: Any, taps: Any, scales: Any, limit: Any, out: Any) -> None:
    """A row of a low band (`even`) and of a high band (`odd`) to one of twice the width."""
    low, high = np.empty_like(even), np.empty_like(odd)
    _scale(even, scales, True, limit, low)
    _scale(odd, scales, False, limit, high)
    _lift_along(low, high, -1, -taps[3], limit)
    _lift_along(high, low, 1, -taps[2], limit)
    _lift_along(low, high, -1, -taps[1], limit)
    _lift_along(high, low, 1, -taps[0], limit)
    for x in range(len(low)):
        out[2 * x] = low[x]
        out[2 * x + 1] = high[x]


@jit
def _merge_rows(
    top: Any, end: Any, bands: Any, taps: Any, scales: Any, limit: Any, kept: Any, out: Any
) -> None:
    """Rows [top, end) of one plane; bands: low, LH, HL, HH.

    kept: [2, 2, 4, w], of the left and the right half the even and odd rows, row y at y % 4; each
    goes through its two lifting steps as soon as its neighbours are there.
    """
    final = len(bands[0]) - 1
    for y in range(max(top - 1, 0), end + 2):
        a, b, c = y & 3, (y - 1) & 3, (y - 2) & 3
        for side in range(2):
            even, odd = kept[side, 0], kept[side, 1]
            if y <= final:
                if y == top - 1 and y > 0:
                    _scale(bands[2 * side + 1][y - 1], scales, False, limit, odd[b])
                _scale(bands[2 * side][y], scales, True, limit, even[a])
                _scale(bands[2 * side + 1][y], scales, False, limit, odd[a])
                _lift(even[a], odd[a], odd[b] if y > 0 else odd[a], -taps[3], limit)
            if max(top, 1) <= y <= final + 1:
                _lift(odd[b], even[b], even[a] if y <= final else even[b], -taps[2], limit)
                if y > top:
                    _lift(even[b], odd[b], odd[c] if y > 1 else odd[b], -taps[1], limit)
            if y >= top + 2:
                _lift(odd[c], even[c], even[b] if y <= final + 1 else even[c], -taps[0], limit)
        if top < y <= end:
            _merge_along(kept[0, 0, b], kept[1, 0, b], taps, scales, limit, out[2 * y - 2])
        if y >= top + 2:
            _merge_along(kept[0, 1, c], kept[1, 1, c], taps, scales, limit, out[2 * y - 3])


@jit
def merge(
    first: Any,
    last: Any,
    low: Any,
    details: Any,
    taps: Any,
    scales: Any,
    limit: Any,
    out: Any,
) -> None:
    """`lifting.merge_2d`, or `merge_2d_exact` if there is a limit.

    low: float32 [n, h, w]; details: [n, 3, h, w], HL, LH, HH; out: [n, 2h, 2w]. scales: what
    low and high bands are divided and multiplied by; the factors of both in integers.
    """
    height, width = low.shape[1], low.shape[2]
    kept = np.empty((2, 2, 4, width), _F)
    while first < last:
        plane, top = first // height, first % height
        end = min(height, top + last - first)
        d = details[plane]
        bands = (low[plane], d[1], d[0], d[2])
        _merge_rows(top, end, bands, taps, scales, limit, kept, out[plane])
        first += end - top


@jit
def _split_along(row: Any, taps: Any, scale: Any, limit: Any, low: Any, high: Any) -> None:
    """One row of the picture to its bands."""
    for x in range(len(low)):
        low[x] = row[2 * x]
        high[x] = row[2 * x + 1]
    _lift_along(high, low, 1, taps[0], limit)
    _lift_along(low, high, -1, taps[1], limit)
    _lift_along(high, low, 1, taps[2], limit)
    _lift_along(low, high, -1, taps[3], limit)
    for x in range(len(low)):
        low[x] = low[x] * scale
        high[x] = high[x] / scale


@jit
def _split_rows(
    top: Any, end: Any, picture: Any, taps: Any, scale: Any, limit: Any, kept: Any, bands: Any
) -> None:
    """Rows [top, end) of the bands of one plane; kept: see `_merge_rows`."""
    final = len(bands[0]) - 1
    for y in range(max(top - 2, 0), end + 2):
        a, b, c, d = y & 3, (y - 1) & 3, (y - 2) & 3, (y - 3) & 3
        if y <= final:
            _split_along(picture[2 * y], taps, scale, limit, kept[0, 0, a], kept[1, 0, a])
            _split_along(picture[2 * y + 1], taps, scale, limit, kept[0, 1, a], kept[1, 1, a])
        for side in range(2):
            even, odd = kept[side, 0], kept[side, 1]
            if max(top - 1, 1) <= y <= final + 1:
                _lift(odd[b], even[b], even[a] if y <= final else even[b], taps[0], limit)
                if y >= top:
                    _lift(even[b], odd[b], odd[c] if y > 1 else odd[b], taps[1], limit)
            if y >= max(top + 1, 2):
                _lift(odd[c], even[c], even[b] if y <= final + 1 else even[c], taps[2], limit)
            if y >= top + 2:
                _lift(even[c], odd[c], odd[d] if y > 2 else odd[c], taps[3], limit)
                low, high = bands[2 * side][y - 2], bands[2 * side + 1][y - 2]
                for x in range(len(low)):
                    low[x] = even[c, x] * scale
                    high[x] = odd[c, x] / scale


@jit
def split(
    first: Any,
    last: Any,
    picture: Any,
    taps: Any,
    scale: Any,
    limit: Any,
    low: Any,
    details: Any,
) -> None:
    """`lifting.split_2d`, or `split_2d_exact` if there is a limit.

    picture: float32 [n, 2h, 2w]; low: [n, h, w]; details: [n, 3, h, w].
    """
    height, width = low.shape[1], low.shape[2]
    kept = np.empty((2, 2, 4, width), _F)
    while first < last:
        plane, top = first // height, first % height
        end = min(height, top + last - first)
        d = details[plane]
        bands = (low[plane], d[1], d[0], d[2])
        _split_rows(top, end, picture[plane], taps, scale, limit, kept, bands)
        first += end - top
