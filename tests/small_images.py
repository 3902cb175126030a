"""Small pixels, hand-made PNG files and EXIF for the tests of images."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def file(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def exif_block(*entries: tuple[int, int, int, int], more: bytes = b"") -> bytes:
    """EXIF of one table: entries of tag, kind, count, value or place; ``more`` follows."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4) + more


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(size: tuple[int, int], depth: int, colour_type: int, rows: bytes, *more: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    parts = (chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_16(samples: NDArray[np.uint16], colour_type: int, *more: bytes) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png((samples.shape[1], samples.shape[0]), 16, colour_type, rows, *more)
