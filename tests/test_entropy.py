"""Tables and coder: exact, bounded, equal to the oracle, close to the ideal rate."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.entropy import Decoder, Encoder, Tables, encode, laplace_scale, reference, symbol_hash
from pliant.entropy.tables import SYMBOL_LIMIT
from pliant.errors import DamagedError

Array = npt.NDArray[Any]
TABLES = Tables.laplace()


def random_tables(seed: int) -> Tables:
    """A valid family that no distribution would give: tiny, skewed and flat tables."""
    rng = np.random.default_rng(seed)
    counts = [np.array([65535, 1]), np.array([2, 65534]), np.array([2, 1, 1, 65532])]
    for length in (2, 4, 40, 600):
        cuts = np.sort(rng.choice(np.arange(1, 65535), length - 1, replace=False))
        counts.append(np.diff(np.concatenate([[0], cuts + 1, [65536]])))
    counts.append(np.concatenate([[65536 - 16383], np.ones(16383, int)]))
    offsets = np.cumsum([0] + [len(c) for c in counts]).astype(np.int32)
    index = rng.integers(0, len(counts), (10, 16)).astype(np.uint16)
    golomb = rng.integers(0, 9, len(counts)).astype(np.uint8)
    return Tables(np.concatenate(counts).astype(np.uint16), offsets, index, golomb)


def latents(count: int, low: int, high: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Symbols drawn from the model itself, with scale indices in [low, high)."""
    rng = np.random.default_rng(seed)
    scale = rng.integers(low, high, count).astype(np.uint8)
    b = laplace_scale(scale)
    mean = np.clip(np.rint(16 * rng.laplace(0, b)), -32768, 32767).astype(np.int16)
    symbols = np.rint(mean / 16 + rng.laplace(0, b)).astype(np.int32)
    return symbols, scale, mean


def decoded(data: bytes, scale: Array, mean: Array, tables: Tables) -> Any:
    """Symbols and checksum, or None for a stream that is refused."""
    try:
        decoder = Decoder(data, tables)
        return decoder.read(scale, mean).tolist(), decoder.finish()
    except DamagedError:
        return None


def decoded_slowly(data: bytes, scale: Array, mean: Array, tables: Tables) -> Any:
    try:
        decoder = reference.Decoder(data, tables)
        return decoder.read(scale.tolist(), mean.tolist()), decoder.finish()
    except DamagedError:
        return None


def assert_round_trip(
    symbols: Array, scale: Array, mean: Array, tables: Tables, checksum: int
) -> None:
    data = encode(symbols, scale, mean, tables, checksum=checksum)
    plain = symbols.tolist(), scale.tolist(), mean.tolist()
    assert data == reference.encode(*plain, tables, checksum=checksum)
    assert decoded(data, scale, mean, tables) == (plain[0], checksum)
    assert decoded_slowly(data, scale, mean, tables) == (plain[0], checksum)


near = st.integers(-3, 3)
magnitudes = st.one_of(near, near, st.integers(-200, 200), st.integers(-SYMBOL_LIMIT, SYMBOL_LIMIT))
means = st.one_of(
    st.integers(-40, 40), st.integers(-32768, 32767), st.sampled_from([-32768, 32767])
)
triples = st.lists(st.tuples(magnitudes, st.integers(0, 63), means), max_size=60)
checksums = st.one_of(st.integers(0, 2**31 - 1), st.sampled_from([0, 2**31 - 1]))


@settings(max_examples=150, deadline=None)
@given(triples, checksums, st.sampled_from([None, 0, 1]))
def test_round_trip_equals_reference(
    items: list[tuple[int, int, int]], checksum: int, seed: int | None
) -> None:
    tables = TABLES if seed is None else random_tables(seed)
    values = np.array(items, np.int64).reshape(-1, 3)
    scale = (values[:, 1] % tables.scales).astype(np.uint8)
    assert_round_trip(
        values[:, 0].astype(np.int32), scale, values[:, 2].astype(np.int16), tables, checksum
    )


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 16), (0, 64), (63, 64)])
def test_equals_reference_on_latents(low: int, high: int) -> None:
    assert_round_trip(*latents(3000, low, high), TABLES, 12345)


@pytest.mark.parametrize("seed", range(4))
def test_random_tables(seed: int) -> None:
    tables = random_tables(seed)
    rng = np.random.default_rng(seed)
    scale = rng.integers(0, 5, 400).astype(np.uint8)
    mean = rng.integers(-32768, 32768, 400).astype(np.int16)
    spread = rng.choice([0, 1, 300, 20000], 400)
    symbols = np.clip(
        ((mean.astype(int) + 8) >> 4) + rng.integers(-1, 2, 400) * spread, -32767, 32767
    )
    symbols = symbols.astype(np.int32)
    assert_round_trip(symbols, scale, mean, tables, seed)
    size = len(encode(symbols, scale, mean, tables))
    assert size <= tables.bits(symbols, scale, mean).sum() / 8 * 1.001 + 8


def test_lengths_and_steps() -> None:
    assert encode(*latents(0, 0, 64), TABLES, checksum=7) == (2**31 + 7).to_bytes(4, "big")
    assert decoded((2**31 + 7).to_bytes(4, "big"), *latents(0, 0, 64)[1:], TABLES) == ([], 7)
    symbols, scale, mean = latents(100_000, 0, 40)
    data = encode(symbols, scale, mean, TABLES, checksum=symbol_hash(symbols))
    decoder, parts, running = Decoder(data, TABLES), [], symbol_hash(symbols[:0])
    for first, end in zip([0, 1, 2, 9, 9, 70_000], [1, 2, 9, 9, 70_000, 100_000], strict=True):
        parts.append(decoder.read(scale[first:end], mean[first:end]))
        running = symbol_hash(parts[-1], running)
    assert np.array_equal(np.concatenate(parts), symbols)
    assert decoder.finish() == decoder.finish(running) == running == symbol_hash(symbols)
    assert decoder.hash == running
    encoder = Encoder(TABLES)
    for first, end in zip([0, 3, 3, 60_000], [3, 3, 60_000, 100_000], strict=True):
        encoder.add(symbols[first:end], scale[first:end], mean[first:end])
    assert encoder.finish(encoder.hash) == data
    with pytest.raises(DamagedError, match="checksum"):
        decoder.finish(running ^ 1)


@pytest.mark.parametrize("mean", [-32768, -8, -1, 0, 7, 8, 32767])
def test_extremes(mean: int) -> None:
    tables = [TABLES, random_tables(3)]
    edges = [s for r in range(1500, 0, -37) for s in (r, -r)]
    values = np.array([SYMBOL_LIMIT, -SYMBOL_LIMIT, 32766, 0, 1, -1, *edges], np.int32)
    for family in tables:
        for s in range(0, family.scales, 7):
            scale = np.full(len(values), s, np.uint8)
            assert_round_trip(
                values, scale, np.full(len(values), mean, np.int16), family, 2**31 - 1
            )


def test_every_residual_near_the_escape() -> None:
    for t in range(0, 64, 9):
        first, end = TABLES.offsets[TABLES.index[t, 8] : TABLES.index[t, 8] + 2].tolist()
        radius = (end - first - 2) // 2
        values = np.arange(-radius - 40, radius + 41, dtype=np.int32)
        scale, mean = np.full(len(values), t, np.uint8), np.zeros(len(values), np.int16)
        data = encode(values, scale, mean, TABLES)
        assert decoded(data, scale, mean, TABLES) == (values.tolist(), 0)
        sizes = [
            sum(16 - np.log2(c) for _, c in reference.codes(int(v), t, 0, TABLES)) for v in values
        ]
        np.testing.assert_allclose(TABLES.bits(values, scale, mean), sizes, atol=1e-9)


def test_wrong_arguments() -> None:
    symbols, scale, mean = latents(10, 0, 64)
    for bad in (SYMBOL_LIMIT + 1, -SYMBOL_LIMIT - 1, 2**31 - 1, -(2**31)):
        wrong = symbols.copy()
        wrong[4] = bad
        with pytest.raises(ValueError, match="magnitude"):
            encode(wrong, scale, mean, TABLES)
        with pytest.raises(ValueError, match="magnitude"):
            reference.encode(wrong.tolist(), scale.tolist(), mean.tolist(), TABLES)
    calls: list[tuple[Any, ...]] = [
        (symbols.astype(np.int64), scale, mean),
        (symbols, scale.astype(np.int8), mean),
        (symbols, scale, mean.astype(np.float32)),
        (symbols, scale[:-1], mean),
        (symbols, scale, mean[:-1]),
        (symbols, np.full(10, 64, np.uint8), mean),
        (symbols.reshape(2, 5), scale, mean),
    ]
    for call in calls:
        with pytest.raises(ValueError):
            encode(call[0], call[1], call[2], TABLES)
    for checksum in (-1, 2**31):
        with pytest.raises(ValueError, match="checksum"):
            encode(symbols, scale, mean, TABLES, checksum=checksum)
    with pytest.raises(ValueError):
        Decoder(encode(symbols, scale, mean, TABLES), TABLES).read(scale + np.uint8(64), mean)


def test_read_only_and_strided_inputs() -> None:
    symbols, scale, mean = latents(1000, 0, 30)
    data = encode(symbols, scale, mean, TABLES)
    wide = np.repeat(mean, 2)
    scale.flags.writeable = False
    assert encode(symbols, scale, wide[::2], TABLES) == data
    assert np.array_equal(Decoder(data, TABLES).read(scale, wide[::2]), symbols)


def test_truncation_at_every_byte() -> None:
    for low, high in [(0, 12), (20, 64)]:
        symbols, scale, mean = latents(300, low, high)
        data = encode(symbols, scale, mean, TABLES, checksum=symbol_hash(symbols))
        for length in range(len(data)):
            result = decoded(data[:length], scale, mean, TABLES)
            assert result is None or result[1] != symbol_hash(np.array(result[0], np.int32))
        for longer in (data + b"\0", data + b"\0" * 4, b"\0" + data, b"\x01" * 4 + data):
            result = decoded(longer, scale, mean, TABLES)
            assert result is None or result[1] != symbol_hash(np.array(result[0], np.int32))


def test_bit_flips_agree_with_reference_and_are_seen() -> None:
    symbols, scale, mean = latents(150, 0, 50)
    data = encode(symbols, scale, mean, TABLES, checksum=symbol_hash(symbols))
    for position in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[position // 8] ^= 1 << position % 8
        result = decoded(bytes(wrong), scale, mean, TABLES)
        assert result == decoded_slowly(bytes(wrong), scale, mean, TABLES)
        assert result is None or result[1] != symbol_hash(np.array(result[0], np.int32))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 63), means, st.sampled_from([None, 0, 1, 2]))
def test_random_bytes(data: bytes, s: int, mean: int, seed: int | None) -> None:
    tables = TABLES if seed is None else random_tables(seed)
    scale, means_ = np.full(50, s % tables.scales, np.uint8), np.full(50, mean, np.int16)
    assert decoded(data, scale, means_, tables) == decoded_slowly(data, scale, means_, tables)


def test_failed_decoder_stays_failed() -> None:
    symbols, scale, mean = latents(300, 30, 64)
    decoder = Decoder(encode(symbols, scale, mean, TABLES)[:100], TABLES)
    for _ in range(2):
        with pytest.raises(DamagedError):
            decoder.read(scale, mean)
    with pytest.raises(DamagedError):
        decoder.finish()


@pytest.mark.parametrize(("low", "high"), [(0, 14), (0, 20), (4, 32), (0, 64)])
def test_rate_is_ideal(low: int, high: int) -> None:
    symbols, scale, mean = latents(100_000, low, high)
    ideal = TABLES.bits(symbols, scale, mean).sum() / 8
    assert ideal <= len(encode(symbols, scale, mean, TABLES)) <= ideal * 1.0002 + 5


def test_rate_against_constriction() -> None:
    constriction = pytest.importorskip("constriction")
    symbols, scale, mean = latents(30_000, 4, 50)
    model = constriction.stream.model.QuantizedLaplace(int(symbols.min()), int(symbols.max()))
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(symbols, model, mean / 16, laplace_scale(scale))
    assert len(encode(symbols, scale, mean, TABLES)) <= 4 * coder.num_words() * 1.0005


def test_certain_zeros_are_free() -> None:
    scale, mean = np.zeros(100_000, np.uint8), np.zeros(100_000, np.int16)
    zeros = np.zeros(100_000, np.int32)
    assert TABLES.bits(zeros, scale, mean).max() < 1e-4
    assert len(encode(zeros, scale, mean, TABLES)) <= 6


def test_hash() -> None:
    symbols = latents(5000, 0, 64)[0]
    assert symbol_hash(symbols) == reference.symbol_hash(symbols.tolist()) < 2**31
    assert symbol_hash(symbols[100:], symbol_hash(symbols[:100])) == symbol_hash(symbols)
    seen = {symbol_hash(symbols)}
    for position in range(0, 5000, 50):
        for change in (1, -1, 256, -2 * int(symbols[position]) or 3):
            wrong = symbols.copy()
            wrong[position] += change
            seen.add(symbol_hash(wrong))
    assert len(seen) == 401


def test_import_is_light() -> None:
    code = "import sys, pliant.entropy; print('numba' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_compiles_without_a_place_for_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels: Any = pytest.importorskip("pliant.entropy.jit")

    def njit(cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("no locator available")
        return lambda function: (function, options)

    monkeypatch.setattr(kernels.numba, "njit", njit)
    assert kernels.jit(len) == (len, {"nogil": True, "error_model": "numpy"})


_LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
import loop
assert loop.twice(21) == 42
"""


def test_loops_run_without_being_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under NUMBA_DISABLE_JIT, which gives back the function itself."""
    kernels: Any = pytest.importorskip("pliant.entropy.jit")
    monkeypatch.setattr(kernels.numba, "njit", lambda **_: lambda function: function)
    assert kernels.jit(len) is len


def test_compiled_code_that_cannot_be_saved(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    (tmp_path / "loop.py").write_text(
        "from pliant.entropy.jit import jit\n\n@jit\ndef twice(x):\n    return x + x\n"
    )
    line = [sys.executable, "-B", "-c", _LIMITED, str(tmp_path)]
    subprocess.run(line, check=True, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)})
