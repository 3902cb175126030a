"""Integer probability tables of the Laplacian family (numpy only).

A symbol ``q`` comes with a scale index ``s`` and a mean in 1/16 steps.  The mean splits into an
integer centre and a fraction in [-8, 7]; what is coded is the residual ``r = q - centre`` by the
table of (s, fraction).  A table lists residuals in *zigzag* order (0, -1, 1, -2, 2, ... , -R, R)
and ends with the escape, so that the centre owns the slots from 0 on and one comparison finds it.

A second family of as many scales serves the second quantiser of ``trellis.py`` around means below
one step in magnitude: its zero lies closer to its neighbours than they to theirs. What is coded is
the quantiser's index, its sign turned with the mean's; the centre is 0 or 1.

An escaped residual is sent as an exponential-Golomb code of ``|r| - R - 1`` and a sign.

Tables are made once, in float64, and stored as integers with the weights: nobody evaluates a
distribution at run time, so every machine has the same tables. Those of a finished model may be
fitted to the symbols of photos.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pliant.entropy.trellis import ONE_MEANS
from pliant.errors import DamagedError

Array = npt.NDArray[Any]

PRECISION = 16  # bits of a probability
TOTAL = 1 << PRECISION  # the counts of a table add up to this
MEAN_UNIT = 16  # means are integers in 1/16 steps
HALF_MEAN_UNIT = 8
SCALES = 64
SYMBOL_LIMIT = 32767  # largest magnitude of a symbol
RADIUS_LIMIT = 16383  # of residuals in a table; far more than any distribution needs
GOLOMB_LIMIT = 8  # with it, every escape that a valid symbol needs has at most 16 + 16 bits
TABLES_LIMIT = 4096
_OWN_USES = 300.0  # that a table's own masses count for when it is fitted

_DTYPES = {"counts": "uint16", "offsets": "int32", "index": "uint16", "golomb": "uint8"}


class Lookup(NamedTuple):
    """What the coder reads: integers derived from the tables, nothing new.

    A context is a scale index and a fraction: number ``16 * s + fraction + 8``. The second family's
    follow: number ``16 * (scales + s) + |mean|``.

    centre:     uint32 [contexts]; count of the centre
    reciprocal: uint64 [contexts]; a state over the centre is ``x * reciprocal >> 64 + shift``
    shift:      uint8 [contexts]
    context:    uint32 [contexts, 5]; position in ``cumulative``, number of the escape, order of its
                code, position in ``coarse``, right shift that turns a slot into a cell of it
    cumulative: uint32 [entries + tables]; per table the running sums, from 0 to 65536
    coarse:     uint16 [cells]; the first entry that can own a slot of the cell
    """

    centre: Array
    reciprocal: Array
    shift: Array
    context: Array
    cumulative: Array
    coarse: Array


def laplace_scale(index: npt.ArrayLike) -> Array:
    """Scale b, in quantiser steps, of each scale index: 0.044 at 0, doubling every 5, 274 at 63."""
    scale: Array = np.exp2(np.asarray(index, np.float64) / 5 - 4.5)
    return scale


@dataclass(frozen=True, eq=False)
class Tables:
    """All tables, ragged: table t owns ``counts[offsets[t]:offsets[t + 1]]``.

    counts:  uint16 [entries]; zigzag order, escape last, each >= 1, first >= 2, sum 65536
    offsets: int32 [tables + 1]; every length is even (2 R + 2)
    index:   uint16 [2 * scales, 16]; the table of scale index s and fraction + 8, then that of the
             second family's scale index and |mean|
    golomb:  uint8 [tables]; order of the escape's code, 0 to 8
    """

    counts: Array
    offsets: Array
    index: Array
    golomb: Array

    def __post_init__(self) -> None:
        _check_layout(self)
        _check_counts(self)

    @classmethod
    def laplace(cls, scales: int = SCALES) -> Tables:
        """Build the family in float64.  For making weights and for tests, never while decoding."""
        index = np.zeros((2 * scales, MEAN_UNIT), np.uint16)
        counts: list[Array] = []
        golomb: list[int] = []
        for row in range(2 * scales):
            second, s = divmod(row, scales)
            scale = float(laplace_scale(s))
            # A mean that is off by d costs d^2 / (2 b^2) nats: wide tables need few fractions.
            group = 1 if scale < 2 else 4 if scale < 8 else MEAN_UNIT
            starts = [*range(0, MEAN_UNIT, group), MEAN_UNIT]
            if second and group == MEAN_UNIT:
                starts.insert(1, ONE_MEANS)  # the centre changes there
            for first, end in itertools.pairwise(starts):
                index[row, first:end] = len(counts)
                mean = (first + end - 1) / 2 - (0 if second else HALF_MEAN_UNIT)
                counts.append(_laplace_counts(scale, mean / MEAN_UNIT, bool(second)))
                golomb.append(min(GOLOMB_LIMIT, max(0, int(np.floor(np.log2(scale))))))
        offsets = np.cumsum([0] + [len(c) for c in counts])
        return cls(
            np.concatenate(counts), offsets.astype(np.int32), index, np.array(golomb, np.uint8)
        )

    @classmethod
    def listed(cls, masses: Sequence[Array]) -> Tables:
        """One table for each list of masses: in zigzag order, the escape's last.

        Table t serves scale index t // 16 with the mean t % 16 - 8: symbols that are counted from
        a centre of their own need no means. There is no second family.
        """
        rows = -(-len(masses) // MEAN_UNIT)
        index = np.minimum(np.arange(rows * MEAN_UNIT), len(masses) - 1).astype(np.uint16)
        offsets = np.cumsum([0] + [len(m) for m in masses]).astype(np.int32)
        golomb = [max(0, min(GOLOMB_LIMIT, int(np.log2(len(m))) - 3)) for m in masses]
        return cls(
            np.concatenate([_quantise(m) for m in masses]),
            offsets,
            np.tile(index.reshape(rows, MEAN_UNIT), (2, 1)),
            np.array(golomb, np.uint8),
        )

    def fitted(self, uses: Array) -> Tables:
        """The same tables, each with the masses that its entries had among counted symbols.

        Args:
            uses: of each entry, see ``rans.Encoder.uses``. A table that is hardly used stays nearly
                as it is.
        """
        counts = np.empty_like(self.counts)
        for first, end in itertools.pairwise(self.offsets.tolist()):
            own = self.counts[first:end] * (_OWN_USES / TOTAL)
            counts[first:end] = _quantise(own + uses[first:end])
        return Tables(counts, self.offsets, self.index, self.golomb)

    def to_arrays(self) -> dict[str, Array]:
        """The four arrays, to be stored beside the weights."""
        return {name: getattr(self, name) for name in _DTYPES}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Tables:
        """Rebuild from stored arrays; DamagedError unless every property above holds."""
        if set(arrays) != set(_DTYPES):
            raise DamagedError(f"probability tables: expected {sorted(_DTYPES)}")
        return cls(**{name: np.ascontiguousarray(arrays[name]) for name in _DTYPES})

    @property
    def scales(self) -> int:
        """Number of scale indices of each family."""
        return int(self.index.shape[0]) // 2

    @cached_property
    def lookup(self) -> Lookup:
        """Derived arrays of the coder; a few milliseconds, once."""
        counts, start = self.counts.astype(np.int64), self.offsets[:-1].astype(np.int64)
        tables, lengths = len(start), np.diff(self.offsets)
        owner = np.repeat(np.arange(tables), lengths)
        running = np.cumsum(counts) - counts  # over all tables: table t starts at 65536 t
        cumulative = np.full(len(counts) + tables, TOTAL, np.uint32)
        cumulative[np.arange(len(counts)) + owner] = running - owner * TOTAL
        # The flatter a table, the smaller its cells: about one entry each where it matters.
        bits = np.clip(22 - np.frexp(counts[start] - 0.5)[1], 8, 12)
        cells = np.cumsum(1 << bits) - (1 << bits)
        owner = np.repeat(np.arange(tables), 1 << bits)
        slot = (np.arange(len(owner)) - cells[owner]) << (PRECISION - bits[owner])
        entry = np.searchsorted(running, owner * TOTAL + slot, side="right") - 1
        t = self.index.reshape(-1).astype(np.int64)
        columns = [start + np.arange(tables), lengths - 1, self.golomb, cells, PRECISION - bits]
        centre = counts[start[t]]
        shift = np.frexp(centre - 0.5)[1] - 1  # 2^shift < centre <= 2^(shift + 1)
        # ceil(2^(64 + shift) / centre) is exact for every state below 2^63, and fits 64 bits.
        reciprocal = [-(-(1 << 64 + int(s)) // int(c)) for c, s in zip(centre, shift, strict=True)]
        return Lookup(
            centre.astype(np.uint32),
            np.array(reciprocal, np.uint64),
            shift.astype(np.uint8),
            np.stack([np.asarray(c)[t] for c in columns], 1).astype(np.uint32),
            cumulative,
            (entry - start[owner]).astype(np.uint16),
        )

    def bits(self, symbols: Array, scale_index: Array, mean: Array) -> Array:
        """Ideal cost in bits of each symbol (escapes included), float64, shape of ``symbols``."""
        mean = np.asarray(mean, np.int64) + HALF_MEAN_UNIT
        table = self.index[scale_index, mean & (MEAN_UNIT - 1)].astype(np.int64)
        residual = np.asarray(symbols, np.int64) - (mean >> 4)
        zigzag = 2 * np.abs(residual) - (residual < 0)
        start, escape = self.offsets[table], self.offsets[table + 1] - self.offsets[table] - 1
        entry = start + np.minimum(zigzag, escape)
        cost: Array = np.asarray(PRECISION - np.log2(self.counts.astype(np.float64)))[entry]
        escaped = zigzag >= escape
        order = self.golomb[table[escaped]].astype(np.int64)
        value = np.abs(residual[escaped]) - (escape[escaped] + 1) // 2 + (1 << order)
        # value has n + order + 1 bits: n zeros and a one, then n + order bits and the sign
        cost[escaped] += 2 * (np.frexp(value.astype(np.float64))[1] - 1) - order + 2
        return cost


def _check_layout(tables: Tables) -> None:
    for name, dtype in _DTYPES.items():
        if getattr(tables, name).dtype != np.dtype(dtype):
            raise DamagedError(f"probability tables: {name} is not {dtype}")
    offsets, index, golomb = tables.offsets, tables.index, tables.golomb
    if index.ndim != 2 or index.shape[1] != MEAN_UNIT or index.shape[0] not in range(2, 257, 2):
        raise DamagedError("probability tables: index must be [2 * scales, 16]")
    if offsets.ndim != 1 or golomb.shape != (len(offsets) - 1,) or tables.counts.ndim != 1:
        raise DamagedError("probability tables: shapes disagree")
    if not 1 <= len(golomb) <= TABLES_LIMIT:
        raise DamagedError("probability tables: too many or none")
    if int(index.max()) >= len(golomb) or int(golomb.max()) > GOLOMB_LIMIT:
        raise DamagedError("probability tables: index or Golomb order out of range")
    lengths: Array = np.diff(offsets.astype(np.int64))
    if offsets[0] != 0 or offsets[-1] != len(tables.counts):
        raise DamagedError("probability tables: offsets do not cover the counts")
    if np.any(lengths < 2) or np.any(lengths % 2) or np.any(lengths > 2 * RADIUS_LIMIT + 2):
        raise DamagedError("probability tables: a table has an impossible length")


def _check_counts(tables: Tables) -> None:
    if np.any(tables.counts == 0) or np.any(tables.counts[tables.offsets[:-1]] < 2):
        raise DamagedError("probability tables: a count is too small")
    if np.any(np.add.reduceat(tables.counts.astype(np.int64), tables.offsets[:-1]) != TOTAL):
        raise DamagedError("probability tables: a table does not add up to 65536")


def _laplace_counts(scale: float, mean: float, second: bool) -> Array:
    """Counts of one table, for a Laplacian of this scale and mean.

    Args:
        second: whether for the second quantiser and a mean in [0, 1), else |mean| <= 1/2.
    """
    # Stop where a count would fall to one, or where the escape's mass would: rounding up the rest
    # costs more than escapes, whose code is nearly ideal for an exponential tail.
    tail = max(2 * scale, 1.0) / TOTAL
    radius = max(1, int(np.ceil(scale * np.log(1 / tail))))
    zigzag = np.arange(2 * radius + 1)
    residual = (zigzag >> 1) ^ -(zigzag & 1)
    if second:
        bounds = np.stack(second_cell(residual + (mean * MEAN_UNIT >= ONE_MEANS)))
    else:
        bounds = np.stack((residual - 0.5, residual + 0.5))
    low, high = (bounds - mean) / scale
    # Each difference is taken on the side where the tail is small, so that none cancels.
    flip = low + high > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    mass = np.where(
        high <= 0,
        0.5 * (np.exp(np.minimum(high, 0)) - np.exp(np.minimum(low, 0))),
        1 - 0.5 * np.exp(np.minimum(low, 0)) - 0.5 * np.exp(-np.maximum(high, 0)),
    )
    edge = (np.array([bounds.max(), -bounds.min()]) - np.array([mean, -mean])) / scale
    return _quantise(np.append(mass, 0.5 * np.exp(-edge).sum()))


def second_cell(index: Array) -> tuple[Array, Array]:
    """Lower and upper bound, in steps, of what the second quantiser's indices stand for.

    The middles between its points: 1/4 around zero, 1/4 to 1 for one, then whole steps.
    """
    lower = np.maximum(np.abs(index) - 1.0, 0.25)
    upper = np.maximum(np.abs(index), 0.25)
    lower = np.where(index == 0, -0.25, lower)
    return np.where(index < 0, -upper, lower), np.where(index < 0, -lower, upper)


def _quantise(mass: Array) -> Array:
    """Counts >= 1 that add up to 65536 and fit ``mass`` (any positive numbers) closely."""
    mass = mass / mass.sum()
    low, high = 0.0, float(TOTAL)
    for _ in range(60):
        middle = (low + high) / 2
        fits = np.maximum(1, np.floor(mass * middle)).sum() <= TOTAL
        low, high = (middle, high) if fits else (low, middle)
    counts = np.maximum(1, np.floor(mass * low)).astype(np.int64)
    gain = mass * np.log1p(1 / counts)  # of one count more
    counts[np.argsort(-gain, kind="stable")[: TOTAL - int(counts.sum())]] += 1
    # A very peaked table may have fewer entries than counts left over.
    counts[0] += TOTAL - int(counts.sum())
    return counts.astype(np.uint16)
