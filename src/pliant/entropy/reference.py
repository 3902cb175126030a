"""The coder of ``rans.py`` in plain Python integers: the meaning of the stream, the tests' oracle.

Slow (about 0.3 Msymbol/s) and without a second thought for speed; the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pliant.entropy.tables import HALF_MEAN_UNIT, MEAN_UNIT, SYMBOL_LIMIT, TOTAL, Tables
from pliant.entropy.trellis import (
    HALF,
    ONE_MEANS,
    SEGMENT,
    ZERO_MEANS,
    following,
    index_of,
    value_of,
)
from pliant.errors import DamagedError

LOW = 1 << 31  # states lie in [LOW, LOW << 32)
Code = tuple[int, int]  # first slot and count, of 65536


def split_mean(mean: int) -> tuple[int, int]:
    """Centre and fraction + 8 of a mean in 1/16 steps."""
    return divmod(mean + HALF_MEAN_UNIT, MEAN_UNIT)


class Context(NamedTuple):
    """How a symbol, or an index of one of the trellis' quantisers, is coded.

    Attributes:
        counts: of the table, in zigzag order.
        order: of the escape's Golomb code.
        centre: of the residuals.
        sign: -1 if the symbol's sign is turned first.
    """

    counts: list[int]
    order: int
    centre: int
    sign: int


def context(scale_index: int, mean: int, tables: Tables, second: bool = False) -> Context:
    """The context of a plain symbol or, if `second`, of an index in the second quantiser."""
    sign = 1
    if second and abs(mean) < ZERO_MEANS:
        row, fraction = tables.scales + scale_index, abs(mean)
        centre = 1 if abs(mean) >= ONE_MEANS else 0
        sign = -1 if mean < 0 else 1
    else:
        shift = 0 if not second else HALF if mean > 0 else -HALF
        centre, fraction = split_mean(mean + shift)
        row = scale_index
    t = int(tables.index[row, fraction])
    first, end = tables.offsets[t : t + 2].tolist()
    return Context(tables.counts[first:end].tolist(), int(tables.golomb[t]), centre, sign)


def codes(
    symbol: int, scale_index: int, mean: int, tables: Tables, second: bool = False
) -> list[Code]:
    """The one code of a symbol, or the three of an escaped one, in reading order."""
    counts, order, centre, sign = context(scale_index, mean, tables, second)
    residual = sign * symbol - centre
    escape = len(counts) - 1
    zigzag = 2 * residual if residual >= 0 else -2 * residual - 1
    entry = min(zigzag, escape)
    result = [(sum(counts[:entry]), counts[entry])]
    if entry == escape:
        value = abs(residual) - (escape - 1) // 2 - 1 + (1 << order)
        bits = value.bit_length() - 1
        run = 1 << 15 - (bits - order)
        unit = 1 << 15 - bits
        tail = (value - (1 << bits)) * 2 + (residual < 0)
        result += [(run, run), (tail * unit, unit)]
    return result


def _trace(values: Sequence[int]) -> list[tuple[int, bool]]:
    """The index of each value of the trellis, and whether it is one of the second quantiser."""
    state, result = 0, []
    for position, value in enumerate(values):
        if position % SEGMENT == 0:
            state = 0
        index = index_of(value, state)
        result.append((index, state % 2 == 1))
        state = following(state, index)
    return result


class Encoder:
    """As ``rans.Encoder``.

    codes: of all symbols so far, in reading order.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.codes: list[Code] = []

    def add(
        self,
        symbols: Sequence[int],
        scale_index: Sequence[int],
        mean: Sequence[int],
        on_trellis: bool = False,
    ) -> None:
        """The next symbols."""
        if any(abs(symbol) > SYMBOL_LIMIT for symbol in symbols):
            raise ValueError(f"symbols: a magnitude is above {SYMBOL_LIMIT}")
        indices = _trace(symbols) if on_trellis else [(symbol, False) for symbol in symbols]
        for (index, second), s, m in zip(indices, scale_index, mean, strict=True):
            self.codes += codes(index, s, m, self._tables, second)

    def finish(self, checksum: int) -> bytes:
        """The stream."""
        state, words = LOW + checksum, []
        for start, count in reversed(self.codes):
            if state >= count << 47:
                words.append(state & 0xFFFFFFFF)
                state >>= 32
            state = state // count * TOTAL + state % count + start
        if state >> 32:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        head = state.to_bytes((state.bit_length() + 7) // 8, "big")
        return head + b"".join(word.to_bytes(4, "little") for word in reversed(words))


def encode(
    symbols: Sequence[int],
    scale_index: Sequence[int],
    mean: Sequence[int],
    tables: Tables,
    *,
    checksum: int = 0,
) -> bytes:
    """As ``rans.encode``."""
    encoder = Encoder(tables)
    encoder.add(symbols, scale_index, mean)
    return encoder.finish(checksum)


class Decoder:
    """As ``rans.Decoder``, symbol by symbol."""

    def __init__(self, data: bytes, tables: Tables) -> None:
        if len(data) < 4 or data[0] == 0:
            raise DamagedError("no state")
        size = (len(data) - 1) % 4 + 1
        self._words = [
            int.from_bytes(data[i : i + 4], "little") for i in range(size, len(data), 4)
        ][::-1]
        self._tables = tables
        self._state = int.from_bytes(data[:size], "big")
        self._refill()

    def _refill(self) -> None:
        if self._state < LOW:
            if not self._words:
                raise DamagedError("too short")
            self._state = self._state << 32 | self._words.pop()

    def _take(self, start: int, count: int) -> None:
        self._state = count * (self._state // TOTAL) + self._state % TOTAL - start
        self._refill()

    def _take_escape(self, order: int) -> tuple[int, bool]:
        """Magnitude beyond the radius, from 1 on, and whether the residual is negative."""
        slot = self._state % TOTAL
        bits = order + 16 - slot.bit_length()
        if bits > 15:
            raise DamagedError("escape too long")
        run, unit = 1 << 15 - (bits - order), 1 << 15 - bits
        self._take(run, run)
        tail = self._state % TOTAL // unit
        self._take(tail * unit, unit)
        return tail // 2 + (1 << bits) - (1 << order) + 1, tail % 2 == 1

    def _read_one(self, scale_index: int, mean: int, second: bool) -> int:
        """The next symbol or index."""
        counts, order, centre, sign = context(scale_index, mean, self._tables, second)
        slot, start, zigzag = self._state % TOTAL, 0, 0
        while start + counts[zigzag] <= slot:
            start += counts[zigzag]
            zigzag += 1
        self._take(start, counts[zigzag])
        residual = -(zigzag + 1) // 2 if zigzag % 2 else zigzag // 2
        if zigzag == len(counts) - 1:
            beyond, negative = self._take_escape(order)
            residual = beyond + (zigzag - 1) // 2
            residual = -residual if negative else residual
        return sign * (centre + residual)

    def read(
        self, scale_index: Iterable[int], mean: Iterable[int], on_trellis: bool = False
    ) -> list[int]:
        """The next symbols."""
        state, symbols = 0, []
        for position, (s, m) in enumerate(zip(scale_index, mean, strict=True)):
            if position % SEGMENT == 0:
                state = 0
            symbol = self._read_one(s, m, second=state % 2 == 1)
            if on_trellis:
                index, symbol = symbol, value_of(symbol, state)
                state = following(state, index)
            if abs(symbol) > SYMBOL_LIMIT:
                raise DamagedError("out of range")
            symbols.append(symbol)
        return symbols

    def finish(self) -> int:
        """The checksum."""
        if self._words or self._state >= LOW << 1:
            raise DamagedError("does not end")
        return self._state - LOW


def symbol_hash(symbols: Iterable[int], start: int = 0x2545F491) -> int:
    """As ``rans.symbol_hash``."""
    value = start
    for symbol in symbols:
        value = ((value ^ (symbol & 0xFFFFFFFF)) * 0x9E3779B1) & 0x7FFFFFFF
        value ^= value >> 15
    return value
