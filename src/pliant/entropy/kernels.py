"""The compiled loops of the rANS coder (numba); ``rans.py`` describes the stream.

The path of the centre, which most symbols take, is written out instead of calling the helpers:
numba counts references of the arrays that it passes, which halves the speed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from pliant.entropy import trellis
from pliant.entropy.jit import jit
from pliant.entropy.tables import SYMBOL_LIMIT

HASH_MASK = 0x7FFFFFFF

# Numba turns a mix of signed and unsigned 64-bit integers into float64, and a signed index costs
# a test for negative ones: whatever meets a state or is an index is made uint64 by name.
_U = np.uint64
_LOW = _U(1 << 31)
_ROOM_BITS = _U(47)  # a state below count << 47 has room for one more code
_WORD_BITS = _U(32)
_WORD_MASK = _U(0xFFFFFFFF)
_SLOT_BITS = _U(16)
_SLOT_MASK = _U(0xFFFF)
_TOTAL = _U(1 << 16)
_ONE = _U(1)

OK, SHORT, BAD_ESCAPE, BAD_SYMBOL = 0, 1, 2, 3  # what ``decode`` found

_FEEDBACK, _STEERING = _U(trellis.FEEDBACK), _U(trellis.STEERING)
_SEGMENT_MASK = _U(trellis.SEGMENT - 1)
_HALF, _ZERO_MEANS = np.int32(trellis.HALF), np.int32(trellis.ZERO_MEANS)
_ONE_MEANS = np.int32(trellis.ONE_MEANS)


def _multiply_high(_context: Any, _a: Any, _b: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        narrow = arguments[0].type
        wide = type(narrow)(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, wide(64)), narrow)

    return types.uint64(types.uint64, types.uint64), generate


# Upper half of the 128-bit product of two uint64.
_upper_product: Any = intrinsic(_multiply_high)


@jit
def _put(state: Any, start: Any, count: Any, words: Any, used: Any) -> Any:
    """Code the slots [start, start + count); returns state and words used."""
    if state >= count << _ROOM_BITS:
        words[used] = np.uint32(state & _WORD_MASK)
        used += _ONE
        state >>= _WORD_BITS
    quotient = state // count
    return (quotient << _SLOT_BITS) + (state - quotient * count) + start, used


@jit
def _put_escape(state: Any, residual: Any, radius: Any, order: Any, words: Any, used: Any) -> Any:
    """Code what follows the escape: the magnitude beyond the radius and the sign."""
    value = _U(abs(residual)) - radius - _ONE + (_ONE << order)
    bits = order
    while value >> (bits + _ONE):
        bits += _ONE
    low = ((value - (_ONE << bits)) << _ONE) | _U(residual < 0)
    count = _ONE << (_U(15) - bits)
    state, used = _put(state, low * count, count, words, used)
    count = _ONE << (_U(15) - (bits - order))
    return _put(state, count, count, words, used)


@jit
def _hashed(value: Any, symbol: Any) -> Any:
    """A bijection of the 31 bits, so that one wrong symbol never goes unseen."""
    value = ((value ^ _U(symbol)) * _U(0x9E3779B1)) & _U(HASH_MASK)
    return value ^ (value >> _U(15))


@jit
def next_state(state: Any, index: Any) -> Any:
    """``trellis.following``."""
    return (state >> _ONE) ^ ((state & _ONE) * _FEEDBACK) ^ ((_U(index) & _ONE) * _STEERING)


@jit
def _value(index: Any, turned: Any, state: Any) -> Any:
    """The value of an index in the quantiser of a state, and the next state."""
    value = np.int64(2) * (-index if turned else index)
    if state & _ONE:
        value -= np.int64(value > 0) - np.int64(value < 0)
    return value, next_state(state, index)


@jit
def _index(value: Any, turned: Any, state: Any) -> Any:
    """Inverse of ``_value``: the index of a value."""
    if state & _ONE:
        value += np.int64(value > 0) - np.int64(value < 0)
    index = value >> 1
    return -index if turned else index


@jit
def _context(scale: Any, mean: Any, state: Any, second_family: Any) -> Any:
    """(number of a symbol's context, centre in 16ths + 8, whether its sign is turned)."""
    m = np.int32(mean)
    shifted = m + np.int32(8)
    if state & _ONE:
        magnitude = abs(m)
        if magnitude < _ZERO_MEANS:
            which = second_family + ((_U(scale) << _U(4)) | _U(magnitude))
            return which, np.int32(16 if magnitude >= _ONE_MEANS else 0), bool(m < 0)
        shifted += _HALF if m > 0 else -_HALF
    return (_U(scale) << _U(4)) | _U(shifted & 15), shifted, False


@jit
def trace(values: Any, states: Any, value: Any) -> Any:
    """Fill ``states``, the trellis' before each value: (all fit, hash from ``value`` on).

    A value fits if its quantiser holds it and it is in range.
    """
    state, bad = _U(0), np.int64(0)
    for p in range(len(values)):
        if not _U(p) & _SEGMENT_MASK:
            state = _U(0)
        states[p] = np.uint8(state)
        symbol = np.int64(values[p])
        value = _hashed(value, symbol)
        away = symbol
        if state & _ONE:
            away += np.int64(symbol > 0) - np.int64(symbol < 0)
        bad |= (away & 1) | np.int64(abs(symbol) > SYMBOL_LIMIT)
        state = next_state(state, away >> 1)
    return bad == 0, value


@jit
def encode(
    symbols: Any,
    scale: Any,
    mean: Any,
    centre: Any,
    reciprocal: Any,
    shift: Any,
    context: Any,
    cumulative: Any,
    state: Any,
    words: Any,
    used: Any,
    states: Any,
) -> Any:
    """Code all symbols, last first: (in range, state, words used).

    ``states`` are those of the trellis, or empty where the symbols are not on it.
    """
    second_family, on_trellis = _U(len(centre) >> 1), len(states) > 0
    for back in range(len(symbols)):
        p = _U(len(symbols) - 1 - back)
        at = _U(states[p]) if on_trellis else _U(0)
        which, shifted, turned = _context(scale[p], mean[p], at, second_family)
        symbol = np.int64(symbols[p])
        if on_trellis:
            symbol = _index(symbol, turned, at)
        residual = symbol - np.int64(shifted >> 4)
        if residual == 0:
            count = _U(centre[which])
            if state >= count << _ROOM_BITS:
                words[used] = np.uint32(state & _WORD_MASK)
                used += _ONE
                state >>= _WORD_BITS
            quotient = _upper_product(state, reciprocal[which]) >> _U(shift[which])
            state += quotient * (_TOTAL - count)
            continue
        zigzag = _U((residual << 1) ^ (residual >> 63))
        escape = _U(context[which, 1])
        if zigzag >= escape:
            if abs(np.int64(symbols[p])) > SYMBOL_LIMIT:
                return False, state, used
            radius, order = (escape - _ONE) >> _ONE, _U(context[which, 2])
            state, used = _put_escape(state, residual, radius, order, words, used)
            zigzag = escape
        place = _U(context[which, 0]) + zigzag
        start = _U(cumulative[place])
        state, used = _put(state, start, _U(cumulative[place + _ONE]) - start, words, used)
    return True, state, used


@jit
def tally(symbols: Any, scale: Any, mean: Any, states: Any, context: Any, uses: Any) -> Any:
    """Add to ``uses``, laid out like the cumulative sums, what ``encode`` would take from them."""
    second_family, on_trellis = _U(len(context) >> 1), len(states) > 0
    for p in range(len(symbols)):
        at = _U(states[p]) if on_trellis else _U(0)
        which, shifted, turned = _context(scale[p], mean[p], at, second_family)
        symbol = np.int64(symbols[p])
        if on_trellis:
            symbol = _index(symbol, turned, at)
        residual = symbol - np.int64(shifted >> 4)
        zigzag = _U((residual << 1) ^ (residual >> 63))
        uses[_U(context[which, 0]) + min(zigzag, _U(context[which, 1]))] += 1


@jit
def _refill(state: Any, words: Any, at: Any) -> Any:
    """State and position after it; the position goes past the end if a word is missing."""
    if state < _LOW:
        if at < _U(len(words)):
            state = (state << _WORD_BITS) | _U(words[at])
        at += _ONE
    return state, at


@jit
def _get_escape(state: Any, order: Any, words: Any, at: Any) -> Any:
    """(fits, magnitude beyond the radius + 1, negative, state, position)."""
    slot = state & _SLOT_MASK
    bits = order
    count = _ONE << _U(15)
    while slot < count:
        count >>= _ONE
        bits += _ONE
    if bits > _U(15):
        return False, _U(0), False, state, at
    state, at = _refill(count * (state >> _SLOT_BITS) + slot - count, words, at)
    count = _ONE << (_U(15) - bits)
    low = (state & _SLOT_MASK) // count
    state = count * (state >> _SLOT_BITS) + (state & _SLOT_MASK) - low * count
    state, at = _refill(state, words, at)
    return True, (low >> _ONE) + (_ONE << bits) - (_ONE << order) + _ONE, low & _ONE, state, at


@jit
def decode(
    symbols: Any,
    scale: Any,
    mean: Any,
    centre: Any,
    context: Any,
    cumulative: Any,
    coarse: Any,
    state: Any,
    words: Any,
    at: Any,
    value: Any,
    on_trellis: Any,
) -> Any:
    """Fill ``symbols``: (status, state, position of the next word, hash from ``value`` on)."""
    end, second_family, quantiser = _U(len(words)), _U(len(centre) >> 1), _U(0)
    for p in range(len(symbols)):
        if not _U(p) & _SEGMENT_MASK:
            quantiser = _U(0)
        which, shifted, turned = _context(scale[p], mean[p], quantiser, second_family)
        slot = state & _SLOT_MASK
        count = _U(centre[which])
        symbol = np.int64(shifted >> 4)
        if slot < count:
            state = count * (state >> _SLOT_BITS) + slot
            if state < _LOW:
                if at == end:
                    return SHORT, state, at, value
                state = (state << _WORD_BITS) | _U(words[at])
                at += _ONE
            if on_trellis:
                symbol, quantiser = _value(symbol, turned, quantiser)
            symbols[p] = symbol
            value = _hashed(value, symbol)
            continue
        first = _U(context[which, 0])
        place = first + _U(coarse[_U(context[which, 3]) + (slot >> _U(context[which, 4]))])
        while cumulative[place + _ONE] <= slot:
            place += _ONE
        start, zigzag = _U(cumulative[place]), place - first
        count = _U(cumulative[place + _ONE]) - start
        state, at = _refill(count * (state >> _SLOT_BITS) + slot - start, words, at)
        if zigzag == _U(context[which, 1]):
            order = _U(context[which, 2])
            fits, beyond, negative, state, at = _get_escape(state, order, words, at)
            if not fits:
                return BAD_ESCAPE, state, at, value
            magnitude = np.int64(beyond + ((zigzag - _ONE) >> _ONE))
            symbol += -magnitude if negative else magnitude
        else:
            symbol += np.int64(zigzag >> _ONE) ^ -np.int64(zigzag & _ONE)
        if at > _U(len(words)):
            return SHORT, state, at, value
        if on_trellis:
            symbol, quantiser = _value(symbol, turned, quantiser)
        if abs(symbol) > SYMBOL_LIMIT:
            return BAD_SYMBOL, state, at, value
        symbols[p] = symbol
        value = _hashed(value, symbol)
    return OK, state, at, value


@jit
def hash_symbols(symbols: Any, value: Any) -> Any:
    """The hash of all symbols."""
    for p in range(len(symbols)):
        value = _hashed(value, symbols[p])
    return value
