"""The loops of trellis-coded quantisation (numba): the encoder's search, and what values stand for.

`trellis.py` makes their tables and calls them; `entropy/trellis.py` describes the trellis. The
search takes `LANES` segments at once, so that one vector instruction serves a state in all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pliant.entropy.jit import jit
from pliant.entropy.kernels import next_state
from pliant.entropy.trellis import FEEDBACK, HALF, SEGMENT, STATES, STEERING, ZERO_MEANS

_F, _I, _U, _W = np.float32, np.int32, np.uint32, np.uint64
_ZERO, _ONE = _F(0), _F(1)
_HALF, _QUARTER, _EIGHTH = _F(1 / 2), _F(1 / 4), _F(1 / 8)

LANES = 16  # bits of what `_survivors` returns
_BLOCK = 64  # symbols of all lanes whose costs stay in the first cache
DISTANCES = 64  # to the mean, in 1/16 steps, that have a cost of their own
MOST = 4  # indices from -4 to 4 do, too, where the mean is within a step of zero
QUIET_MEANS = 2  # up to it, and with small latents, only zeros are tried
_UNREACHED = _F(1e30)

_TARGETS = _W(STATES // 2)  # from even states, and as many from odd ones
_FEEDBACK, _STEERING, _BIT = _W(FEEDBACK), _W(STEERING), _W(1)


@jit
def _regular_bits(distance: Any, s: Any, regular: Any, slope: Any) -> Any:
    """Of an index at a distance (1/16 steps) from the mean, in a regular quantiser."""
    d = _U(abs(distance))
    if d < DISTANCES:
        return regular[s, d]
    return regular[s, DISTANCES - 1] + _F(d - _U(DISTANCES - 1)) * slope[s]


@jit
def _second_bits(index: Any, mean: Any, s: Any, near: Any, regular: Any, slope: Any) -> Any:
    """Of an index of the second quantiser; mean >= 0."""
    if mean >= ZERO_MEANS:
        return _regular_bits(_I(16) * index - mean - _I(HALF), s, regular, slope)
    inner = min(max(index, _I(-MOST)), _I(MOST))
    return near[s, _U(mean), 1, _U(inner + _I(MOST))] + _F(_I(16) * abs(index - inner)) * slope[s]


@jit
def _second_value(index: Any) -> Any:
    return _I(2) * index - _I(index > 0) + _I(index < 0)


@jit
def _weigh(
    latents: Any,
    index: Any,
    mean: Any,
    tables: Any,
    costs: Any,
    options: Any,
) -> None:
    """The best value of each quantiser and parity, and its cost, for each latent of a segment.

    costs: float32 [N, 4], small, as sums of them must stay exact enough. options: int16 [N, 4].
    """
    price, one, limit, quiet, shrink, regular, slope, near = tables
    for p in range(len(latents)):
        y = min(max(latents[p], -limit), limit)
        s, m = index[p], _I(mean[p])
        sign = _I(-1) if m < 0 else _I(1)  # turned so that the mean is positive
        y, m = y * _F(sign), m * sign
        if abs(y) < quiet[s] and m <= QUIET_MEANS:
            options[p, 0] = options[p, 2] = 0
            error = price * y * y
            costs[p, 0] = near[s, _U(m), 0, MOST] + error
            costs[p, 2] = near[s, _U(m), 1, MOST] + error
            costs[p, 1] = costs[p, 3] = _UNREACHED
            continue
        # Rate pulls towards the mean; of each parity the nearest to where it gets is taken.
        away = y - _F(m) * _EIGHTH
        pull = min(abs(away), shrink[s])
        goal = y - pull if away > 0 else y + pull
        k = _I(np.floor(goal * _HALF))
        j = _I(np.floor((goal + (_ONE if goal >= 0 else -_ONE)) * _HALF))
        if m < ZERO_MEANS and abs(goal) < _F(2 * MOST - 1):
            row = near[s, _U(m)]
            at, beside = _U(k + _I(MOST)), _U(j + _I(MOST))
            a, b = row[0, at], row[0, at + _U(1)]
            c, d = row[1, beside], row[1, beside + _U(1)]
        else:
            a = _regular_bits(_I(16) * k - m, s, regular, slope)
            b = _regular_bits(_I(16) * k - m + _I(16), s, regular, slope)
            c = _second_bits(j, m, s, near, regular, slope)
            d = _second_bits(j + _I(1), m, s, near, regular, slope)
        lower, upper, odd = k + k, k + k + _I(2), k & _I(1)
        costs[p, odd] = a + price * (y - _F(lower)) * (y - _F(lower))
        costs[p, odd ^ 1] = b + price * (y - _F(upper)) * (y - _F(upper))
        options[p, odd], options[p, odd ^ 1] = sign * lower, sign * upper
        lower, upper = _second_value(j), _second_value(j + _I(1))
        below, above = _F(lower), _F(upper)
        below = below * one if abs(lower) == 1 else below
        above = above * one if abs(upper) == 1 else above
        odd = j & _I(1)
        costs[p, 2 + odd] = c + price * (y - below) * (y - below)
        costs[p, 2 + (odd ^ 1)] = d + price * (y - above) * (y - above)
        options[p, 2 + odd], options[p, 2 + (odd ^ 1)] = sign * lower, sign * upper


def _two_ways(
    _context: Any, before: Any, _a: Any, _b: Any, costs: Any, _c: Any, _d: Any, after: Any, _e: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), LANES)

        def place(array: int, row: int) -> Any:
            kind = context.make_array(signature.args[array])
            first = kind(context, builder, arguments[array]).data
            item = builder.mul(arguments[row], ir.Constant(ir.IntType(64), LANES))
            return builder.bitcast(builder.gep(first, [item]), lanes.as_pointer())

        def way(state: int, option: int) -> Any:
            loaded = (
                builder.load(place(0, state), align=4),
                builder.load(place(3, option), align=4),
            )
            return builder.fadd(*loaded)

        first, second = way(1, 4), way(2, 5)
        less = builder.fcmp_ordered("<", second, first)
        builder.store(builder.select(less, second, first), place(6, 7), align=4)
        return builder.bitcast(less, ir.IntType(LANES))

    row = types.uint64
    return types.uint16(before, row, row, costs, row, row, after, row), generate


# after[e] = the less of before[a] + costs[c] and before[b] + costs[d], rows of LANES numbers each;
# returns a bit for each lane, 1 where that is the second. Written as instructions because the
# compiler does not find the vectors by itself: they are nine times as fast.
_survivors: Any = intrinsic(_two_ways)


@jit
def _source(target: Any, way: Any) -> Any:
    """The state that leads to another one by an index of the parity `way`: `trellis.following`."""
    odd = target // _TARGETS
    return (((target ^ (odd * _FEEDBACK)) ^ (way * _STEERING)) << _BIT) | odd


@jit
def _advance(before: Any, costs: Any, after: Any, taken: Any) -> None:
    """One symbol of all lanes: the cheaper of the two ways that lead to each state.

    before, after: float32 [STATES * LANES]; costs: float32 [4 * LANES]; taken: uint16 [STATES].
    """
    for number in range(STATES):
        target = _W(number)
        option = _W(2) * (target // _TARGETS)
        taken[target] = _survivors(
            before, _source(target, _W(0)), _source(target, _BIT),
            costs, option, option + _BIT, after, target,
        )  # fmt: skip


@jit
def search(
    first: Any,
    last: Any,
    latents: Any,
    index: Any,
    mean: Any,
    tables: Any,
    values: Any,
) -> None:
    """The values of least cost, bits + error**2 * price: Viterbi's algorithm.

    latents: float32 [B, N], in half-steps; index: uint8 [B, N]; mean: int16 [B, N]; values: int32
    [B, N]; tables: `trellis.Costs`. The numbers first to last are groups of `LANES` segments,
    counted through all rows.
    """
    length = latents.shape[1]
    groups = (length + LANES * SEGMENT - 1) // (LANES * SEGMENT)
    longest = min(length, SEGMENT)
    options = np.empty((longest, LANES, 4), np.int16)
    costs = np.empty((_BLOCK, 4 * LANES), _F)
    taken = np.empty((longest, STATES), np.uint16)
    paths, others = np.empty(STATES * LANES, _F), np.empty(STATES * LANES, _F)
    states = np.empty(LANES, _W)
    for number in range(first, last):
        b, start = number // groups, number % groups * LANES * SEGMENT
        paths[:] = _UNREACHED
        paths[:LANES] = _ZERO
        for block in range(0, longest, _BLOCK):
            count = min(_BLOCK, longest - block)
            costs[:] = _ZERO  # beyond a segment's end, so that paths stay as they are there
            for lane in range(LANES):
                begin = min(start + lane * SEGMENT + block, length)
                end = min(begin + count, length)
                _weigh(
                    latents[b, begin:end], index[b, begin:end], mean[b, begin:end], tables,
                    costs[:, lane::LANES], options[block:, lane],
                )  # fmt: skip
            for p in range(count):
                _advance(paths, costs[p], others, taken[block + p])
                paths, others = others, paths
        for lane in range(LANES):
            states[lane] = np.argmin(paths[lane::LANES])
        for p in range(longest - 1, -1, -1):
            for lane in range(LANES):
                state = states[lane]
                way = (_W(taken[p, state]) >> _W(lane)) & _BIT
                states[lane] = _source(state, way)
                at = start + lane * SEGMENT + p
                if at < length:
                    values[b, at] = options[p, lane, _W(2) * (state // _TARGETS) + way]


@jit
def cells(first: Any, last: Any, values: Any, mean: Any, low: Any, high: Any) -> None:
    """What part of a distribution each value stands for, in steps: as the tables have it.

    values: int32 [B, N]; mean: int16 [B, N]; low, high: float32 [B, N]; for rows first to last.
    """
    for b in range(first, last):
        state = _W(0)
        for p in range(values.shape[1]):
            if p % SEGMENT == 0:
                state = _W(0)
            value, m = values[b, p], mean[b, p]
            sign = (value > 0) - (value < 0)
            magnitude = abs(value)
            if not state & _BIT:
                index = value >> 1
                low[b, p], high[b, p] = _F(index) - _HALF, _F(index) + _HALF
            else:
                index = (value + sign) >> 1
                if abs(m) >= ZERO_MEANS:
                    low[b, p] = _F(index - 1 if m > 0 else index)
                    high[b, p] = low[b, p] + _ONE
                elif not value:
                    low[b, p], high[b, p] = -_QUARTER, _QUARTER
                else:
                    inner = max(_F(magnitude - 1) * _HALF, _QUARTER)
                    outer = _F(magnitude + 1) * _HALF
                    low[b, p] = inner if value > 0 else -outer
                    high[b, p] = outer if value > 0 else -inner
            state = next_state(state, index)
