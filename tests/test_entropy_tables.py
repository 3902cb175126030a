"""Probability tables: close to the distribution, exact divisions, nothing invalid gets in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from trellis_reference import cell, laplace_mass

from pliant.entropy import Tables, laplace_scale
from pliant.entropy.trellis import value_of
from pliant.errors import DamagedError

Array = npt.NDArray[Any]
TABLES = Tables.laplace()


def test_bits_match_the_distribution() -> None:
    for s, fraction in [(0, 0), (5, -8), (10, 3), (27, 7), (28, -8), (40, 5), (63, -8)]:
        b, mean = laplace_scale(s), fraction / 16
        r = np.arange(-12000, 12001)
        low, high = (r - 0.5 - mean) / b, (r + 0.5 - mean) / b
        flip = low + high > 0
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        body = 1 - 0.5 * np.exp(np.minimum(low, 0)) - 0.5 * np.exp(-np.maximum(high, 0))
        tail = 0.5 * (np.exp(np.minimum(high, 0)) - np.exp(np.minimum(low, 0)))
        mass = np.maximum(np.where(high > 0, body, tail), 1e-300)
        cost = TABLES.bits(r, np.full(r.shape, s), np.full(r.shape, fraction))
        assert (mass * cost).sum() <= -(mass * np.log2(mass)).sum() * 1.0006 + 1e-4


@pytest.mark.parametrize("s", [0, 7, 15, 22, 30, 40])
def test_second_family_matches_the_distribution(s: int) -> None:
    """Wide tables serve several means, which costs a little."""
    scale = float(laplace_scale(s))
    for mean in range(16):
        row = int(TABLES.index[TABLES.scales + s, mean])
        first, end = TABLES.offsets[row : row + 2].tolist()
        counts = TABLES.counts[first:end].astype(int)
        centre = 1 if mean >= 4 else 0  # the cell of one starts at 1/4 step
        residuals = [-(k + 1) // 2 if k % 2 else k // 2 for k in range(len(counts) - 1)]
        indices = [centre + r for r in residuals]
        bounds = [cell(value_of(index, 1), True, mean) for index in indices]
        mass = [laplace_mass(a - mean / 16, b - mean / 16, scale) for a, b in bounds]
        mass.append(1 - math.fsum(mass))  # the escape
        assert int(counts.sum()) == 65536
        expected = 65536 * np.array(mass)
        assert s > 27 or np.abs(counts - expected).max() <= 3 + 0.0005 * expected.max()
        extra = (expected * np.log2(np.maximum(expected, 1e-30) / counts)).sum() / 65536
        assert -1e-6 < extra < (0.0007 if s <= 27 else 0.005)


def test_wide_tables_of_the_second_family_serve_several_means() -> None:
    for s, groups in [(22, 16), (27, 16), (28, 4), (37, 4), (38, 2), (63, 2)]:
        rows = TABLES.index[TABLES.scales + s].tolist()
        assert len(set(rows)) == groups
        assert rows[3] != rows[4]  # another centre
        used = [set(TABLES.index[: TABLES.scales].ravel().tolist()), set(rows)]
        assert not used[0] & used[1]


def test_tables_are_small_and_survive_storage() -> None:
    arrays = TABLES.to_arrays()
    assert sum(a.nbytes for a in arrays.values()) < 200_000
    assert TABLES.scales == 64
    again = Tables.from_arrays({k: v.copy() for k, v in arrays.items()})
    assert all(np.array_equal(v, arrays[k]) for k, v in again.to_arrays().items())


def change(name: str, position: Any, value: int) -> dict[str, Array]:
    arrays = {k: v.copy() for k, v in TABLES.to_arrays().items()}
    arrays[name][position] = value
    return arrays


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        change("counts", 0, 0),
        change("counts", 1, 0),
        change("counts", 5, 60000),
        change("offsets", 0, 1),
        change("offsets", -1, 7),
        change("offsets", 3, -5),
        change("offsets", 3, 2**31 - 1),
        change("index", (0, 0), 65535),
        change("index", (-1, -1), 65535),
        change("golomb", 0, 9),
        TABLES.to_arrays() | {"counts": TABLES.counts.astype(np.int32)},
        TABLES.to_arrays() | {"counts": TABLES.counts[:-1]},
        TABLES.to_arrays() | {"counts": TABLES.counts[None]},
        TABLES.to_arrays() | {"index": TABLES.index[:, :15]},
        TABLES.to_arrays() | {"index": TABLES.index[:0]},
        TABLES.to_arrays() | {"index": TABLES.index[:-1]},
        TABLES.to_arrays() | {"index": np.zeros((258, 16), np.uint16)},
        TABLES.to_arrays() | {"golomb": TABLES.golomb[:-1]},
        TABLES.to_arrays() | {"offsets": TABLES.offsets[:0]},
        TABLES.to_arrays() | {"offsets": TABLES.offsets[:1], "golomb": TABLES.golomb[:0]},
        TABLES.to_arrays() | {"extra": TABLES.golomb},
    ],
)
def test_bad_tables_are_refused(arrays: dict[str, Array]) -> None:
    with pytest.raises(DamagedError):
        Tables.from_arrays(arrays)


def test_divisions_are_exact() -> None:
    """The multiplication that replaces the division by the centre's count, at every count."""
    look, rng = TABLES.lookup, np.random.default_rng(0)
    centres = {
        int(c): (int(r), int(s))
        for c, r, s in zip(look.centre, look.reciprocal, look.shift, strict=True)
    }
    for count, (reciprocal, shift) in centres.items():
        top = count << 47
        near_multiples = [count * int(k) for k in rng.integers(1, 1 << 47, 20)]
        for state in [
            1 << 31,
            top - 1,
            top - count,
            *near_multiples,
            *[m - 1 for m in near_multiples],
        ]:
            assert state * reciprocal >> 64 + shift == state // count
