"""The .pli file: round trips, overhead, and every way in which a file can be wrong."""

from __future__ import annotations

import dataclasses
import io
import struct
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.container import (
    METADATA_LIMIT,
    Container,
    Header,
    contents,
    read,
    read_header,
    read_metadata,
    write,
)
from pliant.errors import DamagedError, LimitError, PliantError
from pliant.header import MAX_SIDE, read_varint, write_header, write_varint
from pliant.limits import check_limits
from pliant.summary import info

PLAIN = Header(768, 512, "RGB", b"\x01\x02\x03\x04", 700)
TILED = Header(300, 200, "RGBA", b"abcd", 65535, 7, False, (3, 65535))
RICH = Container(
    TILED,
    tuple(bytes([index]) * (index + 1) for index in range(6)),
    alpha=b"\x00\x80",
    icc=b"profile" * 30,
    exif=b"II*\0" + bytes(range(40)),
    xmp=b"<x:xmpmeta/>",
)


def section(kind: int, payload: bytes) -> bytes:
    head = bytes((kind,)) + write_varint(len(payload))
    return head + struct.pack("<I", zlib.crc32(head + payload)) + payload


def reseal(body: bytes) -> bytes:
    """Header bytes without checksum → with the right one."""
    return body + struct.pack("<I", zlib.crc32(body))


PICTURE = section(0x82, b"stream")


def test_overhead_of_a_plain_photo_is_28_bytes() -> None:
    stream = bytes(range(256)) * 120
    assert len(write(Container(PLAIN, (stream,)))) - len(stream) == 28


@pytest.mark.parametrize("container", [Container(PLAIN, (b"x",)), RICH])
def test_round_trip(container: Container) -> None:
    data = write(container)
    assert read(data) == container
    assert read_header(data) == read_header(data[:60]) == container.header
    metadata = read_metadata(data[: data.index(container.tiles[-1])])
    assert metadata[1:] == (container.alpha, container.icc, container.exif, container.xmp)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, MAX_SIDE),
    height=st.integers(1, MAX_SIDE),
    layout=st.sampled_from(["L", "LA", "RGB", "RGBA"]),
    rate=st.integers(0, 65535),
    portable=st.booleans(),
    extra=st.lists(st.integers(0, 65535), max_size=255),
)
def test_every_header_survives(width, height, layout, rate, portable, extra) -> None:  # type: ignore[no-untyped-def]
    header = Header(width, height, layout, b"\0\xff\0\xff", rate, 0, portable, tuple(extra))
    assert read(write(Container(header, (b"x",)))).header == header


def test_metadata_is_deflated_when_that_is_smaller() -> None:
    small = write(dataclasses.replace(RICH, xmp=b" " * 5000))
    assert len(small) < len(write(RICH)) + 40
    assert read(small).xmp == b" " * 5000


def test_info_of_a_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = write(RICH)
    (tmp_path / "a.pli").write_bytes(data)
    facts = info(tmp_path / "a.pli")
    assert facts == info(data)
    assert facts["bytes"] == len(data)
    assert facts["bpp"] == 8 * len(data) / 60000
    assert (facts["width"], facts["height"], facts["layout"]) == (300, 200, "RGBA")
    assert (facts["tiles"], facts["tile_size"], facts["portable"]) == (6, 128, False)
    assert facts["model"] == facts["model_id"]
    assert (facts["model_id"], facts["rate"], facts["alpha"]) == (b"abcd".hex(), 65535, 2)
    assert (facts["icc"], facts["exif"], facts["xmp"]) == (210, 44, 12)


@pytest.mark.parametrize(
    ("index", "name"),
    [
        ('{"best": {"sha256": "01020304ffff"}}', "best"),
        ('{"best": {"sha256": "01020305ffff"}}', "01020304"),
        ('{"best": {}}', "01020304"),
        ("[]", "01020304"),
        ("?", "01020304"),
    ],
)
def test_info_names_installed_models(index, name, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "index.json").write_text(index)
    monkeypatch.setattr("pliant.summary._INDEX", str(tmp_path / "index.json"))
    assert info(write(Container(PLAIN, (b"x",))))["model"] == name


@pytest.mark.parametrize(
    "header",
    [
        dataclasses.replace(PLAIN, width=0),
        dataclasses.replace(PLAIN, height=2**31),
        dataclasses.replace(PLAIN, rate=65536),
        dataclasses.replace(PLAIN, model_id=b"abc"),
        dataclasses.replace(PLAIN, tile_log2=5),
        dataclasses.replace(PLAIN, adaptation=(0,) * 256),
    ],
)
def test_writer_refuses_impossible_headers(header: Header) -> None:
    with pytest.raises(ValueError, match=r"must|range"):
        write(Container(header, (b"x",)))


def test_writer_refuses_wrong_tiles_alpha_and_huge_metadata() -> None:
    with pytest.raises(ValueError, match="tile streams"):
        write(Container(PLAIN, (b"a", b"b")))
    with pytest.raises(ValueError, match="tile streams"):
        write(Container(PLAIN, (b"",)))
    with pytest.raises(ValueError, match="no alpha"):
        write(Container(PLAIN, (b"a",), alpha=b"\0\0"))
    with pytest.raises(LimitError, match="16 MiB"):
        write(Container(PLAIN, (b"a",), xmp=bytes(METADATA_LIMIT + 1)))


@pytest.mark.parametrize("container", [Container(PLAIN, (b"stream" * 9,)), RICH])
def test_truncation_at_every_byte_is_damage(container: Container) -> None:
    data = write(container)
    for length in range(len(data)):
        with pytest.raises(DamagedError):
            read(data[:length])


@pytest.mark.parametrize("container", [Container(PLAIN, (b"stream" * 9,)), RICH])
def test_every_flipped_bit_is_found(container: Container) -> None:
    data = bytearray(write(container))
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            with pytest.raises(DamagedError):
                read(bytes(data))
            data[position] ^= 1 << bit


def test_trailing_bytes_are_damage() -> None:
    for container in (Container(PLAIN, (b"x",)), RICH):
        with pytest.raises(DamagedError, match="follow the end"):
            read(write(container) + b"\0")


def test_foreign_empty_and_newer_files_are_named() -> None:
    with pytest.raises(DamagedError, match="empty"):
        read(b"")
    for data in (b"\x89PNG", b"P", b"PLX\1", b"\0" * 50):
        with pytest.raises(DamagedError, match=r"not a Pliant file|truncated"):
            read(data)
    with pytest.raises(DamagedError, match="version 2, but this Pliant reads version 1"):
        read(b"PLI\2")


def test_unknown_optional_sections_are_skipped_and_required_ones_refused() -> None:
    head = write_header(PLAIN)
    assert read(head + section(0x04, b"?") + section(0x3F, b"") + PICTURE).tiles == (b"stream",)
    with pytest.raises(DamagedError, match="unknown to this Pliant, which reads version 1"):
        read(head + section(0x90, b"?") + PICTURE)
    with pytest.raises(DamagedError, match="unknown to this Pliant, which reads version 1"):
        read(reseal(write_header(PLAIN)[:-4][:4] + b"\x12" + write_header(PLAIN)[5:-4]) + PICTURE)


def test_an_unknown_optional_section_must_be_intact() -> None:
    damaged = bytearray(section(0x04, b"????"))
    damaged[-1] ^= 1
    with pytest.raises(DamagedError, match="checksum"):
        read(write_header(PLAIN) + bytes(damaged) + PICTURE)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (section(1, b"a") + section(1, b"b") + PICTURE, "twice"),
        (section(1, b"a") + section(0x41, zlib.compress(b"b", wbits=-15)) + PICTURE, "twice"),
        (section(2, b"") + PICTURE, "empty"),
        (section(0x82, b""), "empty"),
        (section(0x81, b"\0\0") + PICTURE, "layout RGB has none"),
        (section(0x41, b"not deflate") + PICTURE, "inflated"),
        (section(0x41, zlib.compress(b"abc", wbits=-15) + b"x") + PICTURE, "inflated"),
        (section(0x41, zlib.compress(b"abc", wbits=-15)[:-1]) + PICTURE, "inflated"),
        (section(0x42, zlib.compress(bytes(METADATA_LIMIT + 1), wbits=-15)) + PICTURE, "16 MiB"),
        (section(0xC2, b"stream"), "unknown"),
        (b"\x01" + b"\xff" * 9 + PICTURE, "shortest form or too large"),
        (b"\x01\x80\x00\0\0\0\0" + PICTURE, "shortest form"),
        (b"\x01" + write_varint(2**40) + b"\0\0\0\0abc", "truncated"),
        (section(0x83, b"\1\0\0\0\0") + b"x", "needless"),
        (PICTURE + PICTURE, "follow the end"),
    ],
)
def test_wrong_sections(sections: bytes, message: str) -> None:
    with pytest.raises(DamagedError, match=message):
        read(write_header(PLAIN) + sections)


def test_wrong_tile_tables() -> None:
    head, tiles = write_header(TILED), [b"t%d" % index for index in range(6)]
    rows = [write_varint(len(tile)) + struct.pack("<I", zlib.crc32(tile)) for tile in tiles]
    good = head + section(0x83, b"".join(rows)) + b"".join(tiles)
    assert read(good).tiles == tuple(tiles)
    assert read(good).alpha is None
    # A longer first row, so that a cut table still has five bytes per tile.
    long_row = write_varint(300) + struct.pack("<I", zlib.crc32(bytes(300)))
    filled = bytes(300) + b"".join(tiles[1:])
    cases = {
        "too short": head + section(0x83, b"".join(rows[:5])) + b"".join(tiles),
        "more rows": head + section(0x83, b"".join([*rows, rows[0]])) + b"".join(tiles),
        "ends before tile 5": head + section(0x83, (long_row + b"".join(rows[1:]))[:-1]) + filled,
        "is empty": head + section(0x83, b"\0\0\0\0\0" + b"".join(rows[1:])) + b"".join(tiles),
        "tile 1 of 6 is damaged": head
        + section(0x83, b"".join([rows[0], rows[2], rows[2], *rows[3:]]))
        + b"".join(tiles),
        "must hold 6 tiles": head + PICTURE,
    }
    for message, data in cases.items():
        with pytest.raises(DamagedError, match=message):
            read(data)


def test_zero_sizes_and_odd_tile_sizes_are_refused() -> None:
    good = write_header(dataclasses.replace(PLAIN, width=5, height=6))[:-4]
    for position, value in ((9, 0), (10, 0), (13, 1), (13, 5), (13, 16), (13, 255)):
        body = bytearray(good)
        body[position] = value
        with pytest.raises(DamagedError, match="impossible"):
            read_header(reseal(bytes(body)))
    body = bytearray(good)
    body[4] |= 8
    with pytest.raises(DamagedError, match="holds none"):
        read_header(reseal(bytes(body) + b"\0"))


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2**31 - 1, 2**62])
def test_varint(value: int) -> None:
    assert read_varint(b"?" + write_varint(value), 1) == (value, 1 + len(write_varint(value)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_resealed_mutations_never_escape(data) -> None:  # type: ignore[no-untyped-def]
    """Structure-aware fuzzing: bytes change, checksums are made right again."""
    body = bytearray(write_header(TILED)[:-4])
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(3, len(body) - 1))] = data.draw(st.integers(0, 255))
    kinds = st.sampled_from([1, 2, 3, 4, 0x41, 0x42, 0x43, 0x81, 0x82, 0x83, 0x84])
    payloads = st.binary(max_size=40)
    sections = data.draw(st.lists(st.tuples(kinds, payloads), max_size=5))
    file = reseal(bytes(body)) + b"".join(section(*each) for each in sections)
    file += data.draw(st.binary(max_size=8))
    try:
        container = read(file)
        check_limits(container.header)
    except PliantError:
        return
    assert len(container.tiles) == container.header.tile_count


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_never_escape(noise: bytes, magic: bool) -> None:
    with pytest.raises(DamagedError):
        read((b"PLI\1" if magic else b"") + noise)


def test_other_files_are_not_read_to_their_end() -> None:
    film = io.BytesIO(bytes(1000))
    assert len(contents(film)) == film.tell() == 3
    with pytest.raises(DamagedError, match="not a Pliant file"):
        read(bytes(3))
    for whole in (b"", b"PL", write(RICH)):
        assert contents(io.BytesIO(whole)) == whole


def test_format_modules_need_only_the_standard_library() -> None:
    code = (
        "import sys, pliant.container, pliant.limits, pliant.summary\n"
        "assert not {'numpy', 'torch', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
