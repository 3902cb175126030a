"""The .pli file: header, sections and checksums, with the standard library only.

``docs/format.md`` describes every byte. A file is a header, then sections; the section with the
picture is always the last one, so that a file cut off anywhere is recognised without an end mark.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final, NamedTuple

from pliant.errors import DamagedError, LimitError
from pliant.header import (
    HEADER_PREFIX,
    MAGIC,
    VERSION,
    Header,
    Layout,
    check_header,
    read_header,
    read_varint,
    split_header,
    write_header,
    write_varint,
)

__all__ = [
    "HEADER_PREFIX",
    "METADATA_LIMIT",
    "VERSION",
    "Container",
    "Header",
    "Layout",
    "Metadata",
    "contents",
    "read",
    "read_header",
    "read_metadata",
    "write",
]

METADATA_LIMIT: Final = 16 * 2**20
"""Largest ICC profile, EXIF or XMP block in bytes, before and after inflating."""

_REQUIRED: Final = 0x80
_DEFLATED: Final = 0x40
_ICC: Final = 0x01
_EXIF: Final = 0x02
_XMP: Final = 0x03
# 0x04 is reserved for a table of regions: optional, because decoding never needs it.
_ALPHA: Final = _REQUIRED | 0x01
_PICTURE: Final = _REQUIRED | 0x02
_TILE_TABLE: Final = _REQUIRED | 0x03
_METADATA_NAMES: Final = {_ICC: "ICC profile", _EXIF: "EXIF", _XMP: "XMP"}

_CRC: Final = struct.Struct("<I")


@dataclass(frozen=True)
class Container:
    """A whole file: the header, one stream per tile, and what travels along.

    alpha is the coded alpha plane, None when there is none or all of it is opaque. exif starts
    with the TIFF byte order mark, without the ``Exif`` prefix of JPEG.
    """

    header: Header
    tiles: tuple[bytes, ...]
    alpha: bytes | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None


class Metadata(NamedTuple):
    """Everything of a file except the coded picture."""

    header: Header
    alpha: bytes | None
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None


class _Section(NamedTuple):
    kind: int
    payload: bytes
    end: int


def write(container: Container) -> bytes:
    """Return the bytes of the file.

    Raises ValueError when a field is out of range (an error of the caller) and LimitError when
    a metadata block is longer than METADATA_LIMIT.
    """
    header = container.header
    _check_writable(container)
    parts = [write_header(header)]
    metadata = ((_ICC, container.icc), (_EXIF, container.exif), (_XMP, container.xmp))
    parts += [_metadata_section(kind, payload) for kind, payload in metadata if payload]
    if container.alpha:
        parts.append(_section(_ALPHA, container.alpha))
    if header.tile_count == 1:
        parts.append(_section(_PICTURE, container.tiles[0]))
    else:
        table = b"".join(write_varint(len(tile)) + _crc(tile) for tile in container.tiles)
        parts.append(_section(_TILE_TABLE, table))
        parts.extend(container.tiles)
    return b"".join(parts)


def contents(stream: IO[bytes]) -> bytes:
    """Return all bytes of a .pli file; of anything else, however long, only enough to refuse it."""
    start = stream.read(len(MAGIC))
    return start + stream.read() if start == MAGIC else start


def read(data: bytes) -> Container:
    """Return the checked content of a file; raise DamagedError with one sentence otherwise."""
    header, position = split_header(data)
    found: dict[int, bytes] = {}
    for section in _sections(data, position):
        _collect(found, section, header)
        position = section.end
    if _PICTURE in found:
        if header.tile_count != 1:
            raise DamagedError(f"the file must hold {header.tile_count} tiles but holds one")
        if position != len(data):
            raise DamagedError(f"{len(data) - position} bytes follow the end of the picture")
        tiles: tuple[bytes, ...] = (found[_PICTURE],)
    elif _TILE_TABLE in found:
        tiles = _read_tiles(data, position, found[_TILE_TABLE], header)
    else:
        raise DamagedError("the file is truncated: the picture itself is missing")
    return Container(
        header, tiles, found.get(_ALPHA), found.get(_ICC), found.get(_EXIF), found.get(_XMP)
    )


def read_metadata(data: bytes) -> Metadata:
    """Return header, alpha and metadata without looking at the coded picture.

    Raises DamagedError like ``read``.
    """
    header, position = split_header(data)
    found: dict[int, bytes] = {}
    for section in _sections(data, position, skip_picture=True):
        _collect(found, section, header)
    return Metadata(header, found.get(_ALPHA), found.get(_ICC), found.get(_EXIF), found.get(_XMP))


def _sections(data: bytes, position: int, *, skip_picture: bool = False) -> Iterator[_Section]:
    """Yield the sections up to and including the one with the picture, checksums verified."""
    while position < len(data):
        start = position
        kind = data[start]
        try:
            length, position = read_varint(data, start + 1)
            (expected,) = _CRC.unpack_from(data, position)
        except (IndexError, struct.error):
            raise DamagedError("the file is truncated between two sections") from None
        if skip_picture and kind in (_PICTURE, _TILE_TABLE):
            return
        body = position + 4
        if length > len(data) - body:
            raise DamagedError(
                f"the file is truncated: section {kind:#04x} states {length} bytes,"
                f" but {len(data) - body} are left"
            )
        payload = data[body : body + length]
        if _section_crc(data[start:position], payload) != expected:
            raise DamagedError(f"section {kind:#04x} of the file is damaged (checksum mismatch)")
        position = body + length
        yield _Section(kind, payload, position)
        if kind in (_PICTURE, _TILE_TABLE):
            return


def _collect(found: dict[int, bytes], section: _Section, header: Header) -> None:
    """Add one section to ``found`` if it is known, skip it if it is optional, else refuse."""
    kind, payload, _ = section
    name = kind & ~_DEFLATED
    if kind & _REQUIRED:
        if kind not in (_ALPHA, _PICTURE, _TILE_TABLE):
            raise DamagedError(
                f"the file needs a feature (section {kind:#04x}) unknown to this Pliant,"
                f" which reads version {VERSION}"
            )
        if kind == _ALPHA and not header.has_alpha:
            raise DamagedError(f"the file holds alpha, but its layout {header.layout} has none")
    elif name not in _METADATA_NAMES:
        return
    elif kind & _DEFLATED:
        payload = _inflate(payload, _METADATA_NAMES[name])
    if name in found:
        raise DamagedError(f"section {name:#04x} occurs twice in the file")
    if not payload:
        raise DamagedError(f"section {name:#04x} of the file is empty")
    if name in _METADATA_NAMES and len(payload) > METADATA_LIMIT:
        raise DamagedError(f"the {_METADATA_NAMES[name]} of the file exceeds the limit of 16 MiB")
    found[name] = payload


def _read_tiles(data: bytes, position: int, table: bytes, header: Header) -> tuple[bytes, ...]:
    """Return the tile streams that follow the table at ``position`` and fill the file."""
    count = header.tile_count
    # Five bytes is the least a table row takes: refuse absurd counts before looping over them.
    if count == 1 or 5 * count > len(table):
        raise DamagedError(f"the tile table is too short or needless for {count} tiles")
    tiles = []
    row = 0
    for index in range(count):
        try:
            length, row = read_varint(table, row)
            (expected,) = _CRC.unpack_from(table, row)
        except (IndexError, struct.error):
            raise DamagedError(f"the tile table ends before tile {index} of {count}") from None
        row += 4
        if length == 0:
            raise DamagedError(f"tile {index} of {count} is empty")
        if length > len(data) - position:
            raise DamagedError(f"the file is truncated inside tile {index} of {count}")
        tile = data[position : position + length]
        if zlib.crc32(tile) != expected:
            raise DamagedError(f"tile {index} of {count} is damaged (checksum mismatch)")
        tiles.append(tile)
        position += length
    if row != len(table):
        raise DamagedError(f"the tile table has more rows than the {count} tiles of the image")
    if position != len(data):
        raise DamagedError(f"{len(data) - position} bytes follow the end of the last tile")
    return tuple(tiles)


def _section(kind: int, payload: bytes) -> bytes:
    head = bytes((kind,)) + write_varint(len(payload))
    return head + _CRC.pack(_section_crc(head, payload)) + payload


def _metadata_section(kind: int, payload: bytes) -> bytes:
    """Return the section, deflated when that is smaller."""
    if len(payload) > METADATA_LIMIT:
        raise LimitError(
            f"the {_METADATA_NAMES[kind]} has {len(payload)} bytes; the limit is 16 MiB"
        )
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(payload) + packer.flush()
    if len(packed) < len(payload):
        return _section(kind | _DEFLATED, packed)
    return _section(kind, payload)


def _inflate(payload: bytes, name: str) -> bytes:
    """Inflate a metadata block; never makes more than METADATA_LIMIT + 1 bytes."""
    unpacker = zlib.decompressobj(-15)
    try:
        content = unpacker.decompress(payload, METADATA_LIMIT + 1)
    except zlib.error:
        raise DamagedError(f"the {name} of the file cannot be inflated") from None
    if len(content) <= METADATA_LIMIT and (not unpacker.eof or unpacker.unused_data):
        raise DamagedError(f"the {name} of the file cannot be inflated")
    return content


def _check_writable(container: Container) -> None:
    header = container.header
    check_header(header)
    if len(container.tiles) != header.tile_count or not all(container.tiles):
        raise ValueError(f"{header.tile_count} tile streams of at least one byte are needed")
    if container.alpha and not header.has_alpha:
        raise ValueError(f"layout {header.layout} has no alpha")


def _crc(data: bytes) -> bytes:
    return _CRC.pack(zlib.crc32(data))


def _section_crc(head: bytes, payload: bytes) -> int:
    """Checksum over type, length and payload: a flipped type must not pass as optional."""
    return zlib.crc32(payload, zlib.crc32(head))
