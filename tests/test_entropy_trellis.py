"""Coding of symbols on the trellis: equal to the oracle, restarts, refuses what is not on it."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.entropy import Decoder, Encoder, Tables, laplace_scale, reference, symbol_hash
from pliant.entropy.tables import SYMBOL_LIMIT
from pliant.entropy.trellis import SEGMENT, STATES, following, index_of, value_of
from pliant.errors import DamagedError

Array = npt.NDArray[Any]
Step = tuple[Array, Array, Array, bool]  # symbols, scale indices, means, whether on the trellis
TABLES = Tables.laplace()


def values_of(indices: list[int]) -> Array:
    """The values of these indices from state 0 on."""
    values, state = [], 0
    for position, index in enumerate(indices):
        state = state if position % SEGMENT else 0
        values.append(value_of(index, state))
        state = following(state, index)
    return np.array(values, np.int32)


def drawn(count: int, low: int, high: int, seed: int = 0) -> Step:
    """Indices drawn around means on both sides of zero, below a step and above."""
    rng = np.random.default_rng(seed)
    scale = rng.integers(low, high, count).astype(np.uint8)
    b = laplace_scale(scale)
    mean = np.clip(np.rint(16 * rng.laplace(0, np.maximum(b, 0.5))), -4095, 4095).astype(np.int16)
    indices = np.rint(mean / 16 + rng.laplace(0, b)).astype(int)
    return values_of(indices.tolist()), scale, mean, True


def written(steps: list[Step], checksum: int | None = None) -> bytes:
    encoder = Encoder(TABLES)
    for step in steps:
        encoder.add(*step)
    return encoder.finish(encoder.hash if checksum is None else checksum)


def written_slowly(steps: list[Step], checksum: int) -> bytes:
    encoder = reference.Encoder(TABLES)
    for symbols, scale, mean, on_trellis in steps:
        encoder.add(symbols.tolist(), scale.tolist(), mean.tolist(), on_trellis)
    return encoder.finish(checksum)


def found(data: bytes, steps: list[Step]) -> Any:
    """Symbols of every step and checksum, or None for a stream that is refused."""
    try:
        decoder = Decoder(data, TABLES)
        symbols = [decoder.read(*step[1:]).tolist() for step in steps]
        return symbols, decoder.finish()
    except DamagedError:
        return None


def found_slowly(data: bytes, steps: list[Step]) -> Any:
    try:
        decoder = reference.Decoder(data, TABLES)
        symbols = [decoder.read(s.tolist(), m.tolist(), t) for _, s, m, t in steps]
        return symbols, decoder.finish()
    except DamagedError:
        return None


def assert_round_trip(steps: list[Step], checksum: int) -> None:
    data = written(steps, checksum)
    assert data == written_slowly(steps, checksum)
    expected = [step[0].tolist() for step in steps], checksum
    assert found(data, steps) == expected
    assert found_slowly(data, steps) == expected


def test_quantisers_and_machine() -> None:
    for state in range(STATES):
        values = [value_of(index, state) for index in range(-50, 51)]
        assert [index_of(value, state) for value in values] == list(range(-50, 51))
        odd = [v for v in range(-99, 100) if v % 2 or v == 0]
        even = list(range(-100, 101, 2))
        assert values == (odd if state % 2 else even)
        for value in set(range(-99, 100)) - set(values):
            with pytest.raises(ValueError, match="quantiser"):
                index_of(value, state)
    for index in range(2):  # no state is lost, whatever comes
        assert sorted(following(s, index) for s in range(STATES)) == list(range(STATES))


near = st.integers(-3, 3)
indices = st.one_of(near, near, st.integers(-200, 200), st.integers(-16383, 16383))
means = st.one_of(
    st.integers(-40, 40), st.integers(-40, 40), st.integers(-32768, 32767),
    st.sampled_from([-32768, -32760, -17, -16, -15, -4, -3, 0, 3, 4, 15, 16, 17, 32760, 32767]),
)  # fmt: skip
items = st.lists(st.tuples(indices, st.integers(0, 63), means), max_size=40)


def step_of(chosen: list[tuple[int, int, int]], on_trellis: bool) -> Step:
    q, scale, mean = np.array(chosen, np.int64).reshape(-1, 3).T
    symbols = values_of(q.tolist()) if on_trellis else q.astype(np.int32)
    return symbols, scale.astype(np.uint8), mean.astype(np.int16), on_trellis


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(items, st.booleans()), max_size=4), st.integers(0, 2**31 - 1))
def test_round_trip_equals_reference(
    chosen: list[tuple[list[tuple[int, int, int]], bool]], checksum: int
) -> None:
    assert_round_trip([step_of(*c) for c in chosen], checksum)


@pytest.mark.parametrize(("low", "high"), [(0, 8), (0, 25), (20, 64)])
def test_equals_reference_across_restarts(low: int, high: int) -> None:
    steps = [drawn(2 * SEGMENT + 300, low, high), drawn(700, low, high, seed=1)]
    assert_round_trip(steps, 77)
    quiet = [np.full(n, k) for n in (SEGMENT - 1, SEGMENT, SEGMENT + 1) for k in (0, 1)]
    for q in quiet:  # the state before the restart is 0 for zeros, not for ones
        zeros = np.zeros(len(q), np.uint8), np.zeros(len(q), np.int16)
        assert_round_trip([(values_of(q.tolist()), *zeros, True)], 0)


@pytest.mark.parametrize(("low", "high"), [(0, 12), (5, 40)])
def test_rate_is_ideal(low: int, high: int) -> None:
    steps = [drawn(20_000, low, high)]
    encoder = reference.Encoder(TABLES)
    symbols, scale, mean, on_trellis = steps[0]
    encoder.add(symbols.tolist(), scale.tolist(), mean.tolist(), on_trellis)
    ideal = sum(16 - np.log2(count) for _, count in encoder.codes) / 8
    assert ideal <= len(written(steps)) <= ideal * 1.0002 + 5


def test_the_machine_starts_again() -> None:
    count = SEGMENT + 1
    scale, mean = np.full(count, 9, np.uint8), np.zeros(count, np.int16)
    symbols = values_of([0] * (SEGMENT - 2) + [1, 0, 1])
    assert symbols[-3:].tolist() == [2, 0, 2]  # without a restart the last one would be 1
    one = symbols.copy()
    one[-1] = 1
    with pytest.raises(ValueError, match="quantiser"):
        written([(one, scale, mean, True)])
    parts = [slice(0, SEGMENT), slice(SEGMENT, count)]
    steps = [(symbols[p], scale[p], mean[p], True) for p in parts]
    assert written(steps) == written([(symbols, scale, mean, True)])
    assert found(written(steps), steps) == ([s[0].tolist() for s in steps], symbol_hash(symbols))


def test_every_small_index_around_every_mean() -> None:
    """Both quantisers, both signs, both families, the escape of the narrowest tables."""
    q, mean = np.meshgrid(np.arange(-9, 10), np.arange(-40, 41))
    for prefix in ([], [1]):  # the second index after [1] is one of the second quantiser
        for scale in (0, 12, 27):
            steps = []
            for index, m in zip(q.ravel().tolist(), mean.ravel().tolist(), strict=True):
                chosen = [*((k, scale, m) for k in prefix), (0, scale, m), (index, scale, m)]
                steps.append(step_of(chosen, True))
            assert_round_trip(steps, 5)


def test_limits() -> None:
    scale, mean = np.full(3, 40, np.uint8), np.array([-32768, 7, 32767], np.int16)
    for symbols in ([0, 0, 32766], [0, 0, -32766], [2, 0, 32767], [2, 0, -32767]):
        assert_round_trip([(np.array(symbols, np.int32), scale, mean, True)], 2**31 - 1)
    for wrong in ([1, 0, 0], [0, -1, 0], [2, 0, 2], [2, 0, -4]):
        assert_refused(wrong, scale, mean, "quantiser")
    for wrong in ([32768, 0, 0], [-32768, 0, 0], [2, 0, 32769], [2, 0, -(2**31) + 1]):
        assert_refused(wrong, scale, mean, "range|magnitude")


def assert_refused(wrong: list[int], scale: Array, mean: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Encoder(TABLES).add(np.array(wrong, np.int32), scale, mean, True)
    with pytest.raises(ValueError, match=message):
        reference.Encoder(TABLES).add(wrong, scale.tolist(), mean.tolist(), True)


def test_arguments_stay_as_they_were() -> None:
    step = drawn(3000, 0, 40)
    before = [a.copy() for a in (step[0], step[1], step[2])]
    encoder = Encoder(TABLES)
    encoder.add(*step)
    assert encoder.hash == symbol_hash(step[0])
    assert encoder.finish(encoder.hash) == encoder.finish(encoder.hash)
    for array, kept in zip((step[0], step[1], step[2]), before, strict=True):
        assert np.array_equal(array, kept)


@pytest.mark.parametrize(("low", "high"), [(0, 14), (20, 64)])
def test_damage_is_noticed_and_means_the_same_to_both(low: int, high: int) -> None:
    steps = [drawn(60, low, high), (*drawn(40, low, high, seed=1)[:3], False), drawn(60, low, high)]
    data = written(steps)

    def harmless(result: Any) -> bool:
        return result is not None and result[1] == reference.symbol_hash(chain(*result[0]))

    assert harmless(found(data, steps))
    for position in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[position // 8] ^= 1 << position % 8
        result = found(bytes(wrong), steps)
        assert result == found_slowly(bytes(wrong), steps)
        assert not harmless(result)
    for length in range(len(data)):
        assert not harmless(found(data[:length], steps))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 63), means)
def test_random_bytes(data: bytes, scale: int, mean: int) -> None:
    zeros = np.zeros(50, np.int32)
    steps = [(zeros, np.full(50, scale, np.uint8), np.full(50, mean, np.int16), True)]
    result = found(data, steps)
    assert result == found_slowly(data, steps)
    if result is not None:
        assert max(map(abs, result[0][0])) <= SYMBOL_LIMIT
        steps[0] = (np.array(result[0][0], np.int32), *steps[0][1:])
        assert found(written(steps, result[1]), steps) == result
