"""The first bytes of a .pli file: what the picture is, checked before anything else is read."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal

from pliant.errors import DamagedError

MAGIC: Final = b"PLI"
VERSION: Final = 1
MAX_SIDE: Final = 2**31 - 1
TILE_LOG2_RANGE: Final = range(6, 16)
HEADER_PREFIX: Final = 1024
"""This many first bytes of a file always hold the whole header."""

Layout = Literal["L", "LA", "RGB", "RGBA"]
LAYOUTS: Final[tuple[Layout, ...]] = ("L", "LA", "RGB", "RGBA")

_LAYOUT_MASK: Final = 0x03
_NOT_PORTABLE: Final = 0x04
_ADAPTED: Final = 0x08
_RESERVED_FLAGS: Final = 0xF0

_CRC: Final = struct.Struct("<I")
_NUMBER: Final = struct.Struct("<H")


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say about the picture.

    width, height: pixels, 1 to 2**31 - 1. model_id: 4 bytes. rate: rate parameter, 0 to 65535.
    tile_log2: 6 to 15 for square tiles of that power of two, 0 for one tile over the whole image.
    portable: False when only the machine that wrote the file is sure to decode it.
    adaptation: up to 255 numbers, 0 to 65535, that fit the model to the picture.
    """

    width: int
    height: int
    layout: Layout
    model_id: bytes
    rate: int
    tile_log2: int = 0
    portable: bool = True
    adaptation: tuple[int, ...] = ()
    version: int = VERSION

    @property
    def channels(self) -> int:
        """Number of colour channels: 1 or 3, without alpha."""
        return 1 if self.layout in ("L", "LA") else 3

    @property
    def has_alpha(self) -> bool:
        """Whether the picture has an alpha channel, stored or entirely opaque."""
        return self.layout in ("LA", "RGBA")

    @property
    def tile_grid(self) -> tuple[int, int]:
        """Tiles down and tiles across."""
        if self.tile_log2 == 0:
            return 1, 1
        return _blocks(self.height, self.tile_log2), _blocks(self.width, self.tile_log2)

    @property
    def tile_count(self) -> int:
        """Number of tile streams, in row-major order."""
        down, across = self.tile_grid
        return down * across


def read_header(data: bytes) -> Header:
    """Return the checked header; the first HEADER_PREFIX bytes of a file are enough.

    Raises DamagedError when the data is not a Pliant file, is of another version or is damaged.
    """
    return split_header(data)[0]


def check_header(header: Header) -> None:
    """Raise ValueError when a field is out of range, which is an error of the caller."""
    sides = 1 <= header.width <= MAX_SIDE and 1 <= header.height <= MAX_SIDE
    numbers = all(0 <= n <= 0xFFFF for n in (header.rate, *header.adaptation))
    if not sides or not numbers or len(header.adaptation) > 255 or header.layout not in LAYOUTS:
        raise ValueError(f"a field of the header is out of range: {header}")
    if len(header.model_id) != 4 or header.version != VERSION:
        raise ValueError(f"the model id must have 4 bytes and the version be {VERSION}: {header}")
    if header.tile_log2 and header.tile_log2 not in TILE_LOG2_RANGE:
        raise ValueError(f"the tile size must be 0 or 2**6 to 2**15 pixels: {header}")


def write_header(header: Header) -> bytes:
    """Return the bytes of a header whose fields ``check_header`` accepts."""
    flags = LAYOUTS.index(header.layout)
    flags |= 0 if header.portable else _NOT_PORTABLE
    flags |= _ADAPTED if header.adaptation else 0
    body = MAGIC + bytes((VERSION, flags)) + header.model_id
    body += write_varint(header.width) + write_varint(header.height)
    body += _NUMBER.pack(header.rate) + bytes((header.tile_log2,))
    if header.adaptation:
        body += bytes((len(header.adaptation),))
        body += b"".join(_NUMBER.pack(n) for n in header.adaptation)
    return body + _CRC.pack(zlib.crc32(body))


def split_header(data: bytes) -> tuple[Header, int]:
    """Return the checked header and the position after it; raises like ``read_header``."""
    if not data:
        raise DamagedError("the file is empty")
    if data[:3] != MAGIC[: len(data)]:
        raise DamagedError("this is not a Pliant file")
    if len(data) > 3 and data[3] != VERSION:
        raise DamagedError(
            f"the file has format version {data[3]}, but this Pliant reads version {VERSION}"
        )
    try:
        return _parse_header(data)
    except (IndexError, struct.error):
        raise DamagedError("the file is truncated inside its header") from None


def _parse_header(data: bytes) -> tuple[Header, int]:
    """Parse after magic and version; IndexError or struct.error means too few bytes."""
    flags, model_id = data[4], data[5:9]
    width, position = read_varint(data, 9)
    height, position = read_varint(data, position)
    (rate,) = _NUMBER.unpack_from(data, position)
    tile_log2 = data[position + 2]
    position += 3
    extra: tuple[int, ...] = ()
    if flags & _ADAPTED:
        count = data[position]
        extra = struct.unpack_from(f"<{count}H", data, position + 1)
        position += 1 + 2 * count
    (expected,) = _CRC.unpack_from(data, position)
    if zlib.crc32(data[:position]) != expected:
        raise DamagedError("the header of the file is damaged (checksum mismatch)")
    if flags & _RESERVED_FLAGS:
        raise DamagedError(
            f"the file uses a feature unknown to this Pliant, which reads version {VERSION}"
        )
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise DamagedError(f"the header states an impossible size of {width} by {height} pixels")
    if tile_log2 and tile_log2 not in TILE_LOG2_RANGE:
        raise DamagedError(f"the header states an impossible tile size of 2**{tile_log2} pixels")
    if flags & _ADAPTED and not extra:
        raise DamagedError("the header announces further rate parameters but holds none")
    layout = LAYOUTS[flags & _LAYOUT_MASK]
    portable = not flags & _NOT_PORTABLE
    header = Header(width, height, layout, model_id, rate, tile_log2, portable, extra)
    return header, position + 4


def write_varint(value: int) -> bytes:
    """Little-endian base 128, the top bit of each byte says that another byte follows."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the value and the position after it; IndexError when the data ends inside.

    Only the shortest form is accepted, so that every value has exactly one spelling.
    """
    value = 0
    for shift in range(0, 63, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                break
            return value, position
    raise DamagedError("a number in the file is not in its shortest form or too large")


def _blocks(length: int, log2: int) -> int:
    return (length + (1 << log2) - 1) >> log2
