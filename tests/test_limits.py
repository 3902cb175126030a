"""What is refused from the header alone: pixels, memory, work; and how limits are said."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from pliant.container import read, read_header
from pliant.errors import DamagedError, LimitError, UsageError
from pliant.header import MAX_SIDE, Header, write_header
from pliant.limits import (
    BLOCK_SIDE,
    BYTES_PER_PIXEL,
    MACS_PER_PIXEL,
    TILE_MACS,
    Demand,
    Limits,
    check_limits,
    parse_count,
    predict_memory,
    predict_work,
)

BOMBS = [
    Header(MAX_SIDE, MAX_SIDE, "RGBA", b"abcd", 1),
    Header(1, MAX_SIDE, "L", b"abcd", 1, 6),
    Header(MAX_SIDE, 1, "L", b"abcd", 1),
    Header(MAX_SIDE, MAX_SIDE, "RGB", b"abcd", 1, 6),
    Header(16384, 16384, "RGB", b"abcd", 1, 0),
    Header(1, 16384**2, "RGB", b"abcd", 1, 6),
]


@pytest.mark.parametrize("header", BOMBS)
def test_header_bombs_are_refused_quickly_and_in_little_memory(header: Header) -> None:
    data = write_header(header) + b"\x83\x05x"
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(LimitError):
        check_limits(read_header(data))
    if header.tile_count > 1:
        with pytest.raises(DamagedError):
            read(data)
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 0.05
    assert peak < 1_000_000


def test_limits_name_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    header = Header(1000, 1000, "RGB", b"abcd", 1)
    check_limits(header)
    with pytest.raises(LimitError, match="--max-pixels"):
        check_limits(header, Limits(pixels=999_999))
    with pytest.raises(LimitError, match="PLIANT_MAX_MEMORY"):
        check_limits(header, Limits(memory=10**8))
    with pytest.raises(LimitError, match="operations"):
        check_limits(header, Limits(work=10**9))
    monkeypatch.setenv("PLIANT_MAX_PIXELS", "0.9M")
    with pytest.raises(LimitError, match="900000"):
        check_limits(header)
    assert Limits.from_environment(max_pixels=10**6).pixels == 10**6
    monkeypatch.setenv("PLIANT_MAX_PIXELS", "lots")
    with pytest.raises(UsageError, match="PLIANT_MAX_PIXELS"):
        check_limits(header)


def test_predictions_grow_with_the_image_and_shrink_with_tiles() -> None:
    whole, tiled = Header(8000, 8000, "RGB", b"abcd", 1), Header(8000, 8000, "RGB", b"abcd", 1, 10)
    assert predict_memory(tiled) < predict_memory(whole) / 10
    assert predict_work(whole) == MACS_PER_PIXEL * 8000**2
    assert predict_work(tiled) == predict_work(whole) + 63 * TILE_MACS


def test_many_small_tiles_are_more_work_than_their_pixels() -> None:
    for log2 in (0, 9, 10, 11):
        check_limits(Header(16384, 16384, "RGB", b"abcd", 1, log2), Limits(memory=10**12))
    with pytest.raises(LimitError, match="operations"):
        check_limits(Header(16384, 16384, "RGB", b"abcd", 1, 6), Limits(memory=10**12))


def test_a_dearer_model_may_decode_fewer_pixels() -> None:
    header = Header(4096, 4096, "RGB", b"abcd", 1, 10)
    work = 2 * MACS_PER_PIXEL * 4096**2 + 15 * TILE_MACS
    check_limits(header, Limits(work=work), Demand(2 * MACS_PER_PIXEL))
    with pytest.raises(LimitError, match="operations"):
        check_limits(header, Limits(work=work), Demand(2 * MACS_PER_PIXEL + 1))


def test_a_model_of_more_memory_may_decode_fewer_pixels() -> None:
    header = Header(4096, 4096, "RGB", b"abcd", 1, 10)
    whole, block = 4096**2, 1024**2
    limits = Limits(memory=14 * whole + 900 * block)
    check_limits(header, limits, Demand(bytes_per_pixel=900, block_side=1024))
    for demand in (
        Demand(bytes_per_pixel=901, block_side=1024),
        Demand(bytes_per_pixel=900, block_side=1088),
        Demand(bytes_per_pixel=190, block_side=None),
    ):
        with pytest.raises(LimitError, match="PLIANT_MAX_MEMORY"):
            check_limits(header, limits, demand)


@pytest.mark.parametrize(
    ("side", "log2", "expected"),
    [
        (2048, 0, 2048),  # one tile
        (2048, 6, 2048),  # the transform takes it in one block, however small the tiles
        (4096, 6, BLOCK_SIDE),
        (4096, 11, 2048),
        (4096, 0, 4096),
    ],
)
def test_memory_is_that_of_the_largest_tile_or_block(side: int, log2: int, expected: int) -> None:
    header = Header(side, side, "RGB", b"abcd", 1, log2)
    assert predict_memory(header) == BYTES_PER_PIXEL * expected**2 + 14 * side**2


@pytest.mark.parametrize(
    ("text", "value"), [("40000", 40000), ("120k", 120_000), ("1.5M", 1_500_000), ("2g", 2 * 10**9)]
)
def test_counts(text: str, value: int) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize(
    "text", ["", "k", "-5", "0", "1.5x", "inf", "nan", "0.4", "1e999", "1e19", "١k"]
)
def test_wrong_counts(text: str) -> None:
    with pytest.raises(UsageError, match="not a number"):
        parse_count(text)
