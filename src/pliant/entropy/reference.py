"""The coder of ``rans.py`` in plain Python integers: the meaning of the stream, the tests' oracle.

Slow (about 0.3 Msymbol/s) and without a second thought for speed; the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pliant.entropy.tables import HALF_MEAN_UNIT, MEAN_UNIT, SYMBOL_LIMIT, TOTAL, Tables
from pliant.errors import DamagedError

LOW = 1 << 31  # states lie in [LOW, LOW << 32)
Code = tuple[int, int]  # first slot and count, of 65536


def split_mean(mean: int) -> tuple[int, int]:
    """Centre and fraction + 8 of a mean in 1/16 steps."""
    return divmod(mean + HALF_MEAN_UNIT, MEAN_UNIT)


def _table(tables: Tables, scale_index: int, fraction: int) -> tuple[list[int], int]:
    """Counts and Golomb order."""
    t = int(tables.index[scale_index, fraction])
    first, end = tables.offsets[t : t + 2].tolist()
    return tables.counts[first:end].tolist(), int(tables.golomb[t])


def codes(symbol: int, scale_index: int, mean: int, tables: Tables) -> list[Code]:
    """The one code of a symbol, or the three of an escaped one, in reading order."""
    centre, fraction = split_mean(mean)
    counts, order = _table(tables, scale_index, fraction)
    residual = symbol - centre
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


def encode(
    symbols: Sequence[int],
    scale_index: Sequence[int],
    mean: Sequence[int],
    tables: Tables,
    *,
    checksum: int = 0,
) -> bytes:
    """As ``rans.encode``."""
    if any(abs(symbol) > SYMBOL_LIMIT for symbol in symbols):
        raise ValueError(f"symbols: a magnitude is above {SYMBOL_LIMIT}")
    state, words = LOW + checksum, []
    for symbol, s, m in reversed(list(zip(symbols, scale_index, mean, strict=True))):
        for start, count in reversed(codes(symbol, s, m, tables)):
            if state >= count << 47:
                words.append(state & 0xFFFFFFFF)
                state >>= 32
            state = state // count * TOTAL + state % count + start
    if state >> 32:
        words.append(state & 0xFFFFFFFF)
        state >>= 32
    head = state.to_bytes((state.bit_length() + 7) // 8, "big")
    return head + b"".join(word.to_bytes(4, "little") for word in reversed(words))


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

    def read_one(self, scale_index: int, mean: int) -> int:
        """The next symbol."""
        centre, fraction = split_mean(mean)
        counts, order = _table(self._tables, scale_index, fraction)
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
        if abs(centre + residual) > SYMBOL_LIMIT:
            raise DamagedError("out of range")
        return centre + residual

    def read(self, scale_index: Iterable[int], mean: Iterable[int]) -> list[int]:
        """The next symbols."""
        return [self.read_one(s, m) for s, m in zip(scale_index, mean, strict=True)]

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
