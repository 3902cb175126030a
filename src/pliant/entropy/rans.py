"""rANS coder for Laplacian symbols; ``reference.py`` says the same, slowly and plainly.

* The state has 64 bits, lies in [2^31, 2^63) and moves 32-bit words.  The encoder runs backwards,
  so its first state is the decoder's last: 2^31 + checksum, 31 bits that cost nothing.
* One state, not several interleaved: the branch on the centre is what takes the time, not the
  chain of multiplications, so further states cost 4 bytes each and measured no gain.
* An escaped symbol is three codes: the escape, a run of n zeros and a one (probability
  2^-(n+1)), and n + order + 1 equiprobable bits with the sign lowest.  A valid symbol needs
  n + order <= 15, so the work per symbol is bounded.
* Symbols on the trellis (``trellis.py``) are coded by their indices in their quantisers; those of
  the second one by the second family of tables where the mean is within a step of zero, turned so
  that the mean is positive, and else around the mean moved half a step away from zero.
* A stream is the encoder's last state in 1 to 4 bytes, big-endian without leading zeros (their
  number follows from the length modulo 4), then the words, little-endian, in reading order.
  A leading value below 2^31 is the upper half of a state: the first word is its lower half.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from pliant.entropy.tables import SYMBOL_LIMIT, Array, Tables
from pliant.errors import DamagedError

HASH_START = 0x2545F491
HASH_MASK = 0x7FFFFFFF

_SHORT = "the symbol stream ends too early"


def _kernels() -> ModuleType:
    """Numba takes a while to import, so only coding does it, not whoever names the coder."""
    from pliant.entropy import kernels

    return kernels


def _checked(array: npt.ArrayLike, dtype: Any, length: int, name: str) -> Array:
    """The array as the kernels want it: writable and contiguous, so that one version serves."""
    result = np.asarray(array)
    if result.dtype != dtype or result.shape != (length,):
        found = f"{result.dtype} {list(result.shape)}"
        raise ValueError(f"{name}: expected {np.dtype(dtype)} [{length}], got {found}")
    return np.require(result, None, ["C", "W", "A"])


def _contexts(
    scale_index: npt.ArrayLike, mean: npt.ArrayLike, length: int, tables: Tables
) -> tuple[Array, Array]:
    scale = _checked(scale_index, np.uint8, length, "scale_index")
    if length and int(scale.max()) >= tables.scales:
        raise ValueError(f"scale_index: {int(scale.max())} is not below {tables.scales}")
    return scale, _checked(mean, np.int16, length, "mean")


def encode(
    symbols: npt.ArrayLike,
    scale_index: npt.ArrayLike,
    mean: npt.ArrayLike,
    tables: Tables,
    *,
    checksum: int = 0,
) -> bytes:
    """Code int32 [N] symbols in [-32767, 32767] with uint8 [N] scale indices and int16 [N] means.

    ``checksum``, in [0, 2^31), comes back from ``Decoder.finish``.  At least 4 bytes long.
    ValueError for wrong types, shapes or ranges.
    """
    encoder = Encoder(tables)
    encoder.add(symbols, scale_index, mean)
    return encoder.finish(checksum)


class Encoder:
    """Takes symbols step by step and codes them at the end, from the last to the first.

    hash: ``symbol_hash`` of all symbols so far, from ``hash_start`` on.
    """

    def __init__(self, tables: Tables, hash_start: int = HASH_START) -> None:
        self._tables = tables
        self._steps: list[tuple[Array, Array, Array, Array]] = []
        self.hash = hash_start & HASH_MASK

    def add(
        self,
        symbols: npt.ArrayLike,
        scale_index: npt.ArrayLike,
        mean: npt.ArrayLike,
        on_trellis: bool = False,
    ) -> None:
        """The next symbols; types and errors are those of ``encode``.  Keeps the arrays.

        ``on_trellis``: the symbols are values of ``trellis.py``, from state 0 on; ValueError if a
        quantiser does not hold its value.
        """
        count = np.asarray(symbols).size
        values = _checked(symbols, np.int32, count, "symbols")
        scale, means = _contexts(scale_index, mean, count, self._tables)
        states = np.empty(count if on_trellis else 0, np.uint8)
        if on_trellis:
            fits, value = _kernels().trace(values, states, np.uint64(self.hash))
            if not fits:
                raise ValueError("symbols: a value is not in its quantiser, or out of range")
            self.hash = int(value)
        else:
            self.hash = symbol_hash(values, self.hash)
        self._steps.append((values, scale, means, states))

    def uses(self) -> Array:
        """How often each entry of the tables serves the symbols so far, int64 [entries]."""
        look = self._tables.lookup
        uses = np.zeros(len(look.cumulative), np.int64)
        for values, scale, means, states in self._steps:
            _kernels().tally(values, scale, means, states, look.context, uses)
        ends = self._tables.offsets[1:] + np.arange(len(self._tables.golomb))
        found: Array = np.delete(uses, ends)
        return found

    def finish(self, checksum: int) -> bytes:
        """The stream; ``checksum`` is that of ``encode``.  ValueError for a symbol out of range."""
        if not 0 <= checksum <= HASH_MASK:
            raise ValueError("checksum: not in [0, 2^31)")
        look, kernels = self._tables.lookup, _kernels()
        count = sum(len(step[0]) for step in self._steps)
        words = np.empty(2 * count + 2, np.uint32)  # a symbol takes at most 48 bits
        head, used = (1 << 31) + checksum, 0
        for values, scale, means, states in reversed(self._steps):
            fits, state, at = kernels.encode(
                values, scale, means, look.centre, look.reciprocal, look.shift, look.context,
                look.cumulative, np.uint64(head), words, np.uint64(used), states,
            )  # fmt: skip
            if not fits:
                raise ValueError(f"symbols: a magnitude is above {SYMBOL_LIMIT}")
            head, used = int(state), int(at)
        if head >> 32:
            words[used] = head & 0xFFFFFFFF
            used, head = used + 1, head >> 32
        body: bytes = words[:used][::-1].astype("<u4").tobytes()
        return head.to_bytes((head.bit_length() + 7) // 8, "big") + body


class Decoder:
    """Reads symbols step by step, in the order in which the encoder got them.

    hash: ``symbol_hash`` of all symbols so far, from ``hash_start`` on.
    """

    def __init__(self, data: bytes, tables: Tables, hash_start: int = HASH_START) -> None:
        """DamagedError if ``data`` cannot be a stream."""
        self._tables = tables
        self.hash = hash_start & HASH_MASK
        self._failure: str | None = None
        if len(data) < 4 or data[0] == 0:
            raise DamagedError("the symbol stream does not start with a state")
        size = (len(data) - 1) % 4 + 1
        self._words = np.frombuffer(data[size:], "<u4").astype(np.uint32)
        self._at = 0
        state = int.from_bytes(data[:size], "big")
        if state < 1 << 31:
            if not len(self._words):
                raise DamagedError(_SHORT)
            state, self._at = state << 32 | int(self._words[0]), 1
        self._state = state

    def read(
        self, scale_index: npt.ArrayLike, mean: npt.ArrayLike, on_trellis: bool = False
    ) -> Array:
        """The next symbols, int32 [n], for uint8 [n] scale indices and int16 [n] means.

        ``on_trellis``: they are values of ``trellis.py``, from state 0 on.

        DamagedError if the stream ends too early or holds what no encoder writes; the decoder is
        of no use afterwards.  Work and memory are bounded by n.
        """
        count = np.asarray(scale_index).size
        scale, means = _contexts(scale_index, mean, count, self._tables)
        symbols = np.empty(count, np.int32)
        look = self._tables.lookup
        if self._failure is None:
            kernels = _kernels()
            status, state, at, value = kernels.decode(
                symbols, scale, means, look.centre, look.context, look.cumulative, look.coarse,
                np.uint64(self._state), self._words, np.uint64(self._at), np.uint64(self.hash),
                on_trellis,
            )  # fmt: skip
            self._state, self._at, self.hash = int(state), int(at), int(value)
            self._failure = {
                kernels.SHORT: _SHORT,
                kernels.BAD_ESCAPE: "the symbol stream has an escape that is too long",
                kernels.BAD_SYMBOL: "the symbol stream has a symbol out of range",
            }.get(status)
        if self._failure is not None:
            raise DamagedError(self._failure)
        return symbols

    def finish(self, checksum: int | None = None) -> int:
        """The checksum given to ``encode``.

        DamagedError unless the stream ends exactly here, and with ``checksum`` if that is given.
        """
        if self._failure is not None or self._at != len(self._words) or self._state >> 32:
            raise DamagedError("the symbol stream does not end where it should")
        found = self._state - (1 << 31)
        if checksum is not None and found != checksum:
            raise DamagedError("the symbols do not match their checksum")
        return found


def symbol_hash(symbols: npt.ArrayLike, start: int = HASH_START) -> int:
    """31-bit hash of int32 [N] symbols; pass a hash as ``start`` to go on with more symbols."""
    values = np.asarray(symbols)
    values = _checked(values, np.int32, values.size, "symbols")
    return int(_kernels().hash_symbols(values, np.uint64(start & HASH_MASK)))
