"""Small sample files of every kind, and mutations of them whose checksums are right again.

A mutation gets past every checksum of the container, as a forger's would: what stands behind must
hold on its own. Each says in `Mutant.free` what it may change without being an error.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pliant import container, tiles
from pliant.codec import Codec
from pliant.header import Header, read_varint, split_header, write_header, write_varint
from pliant.picture import Picture

ICC, EXIF, XMP, ALPHA, PICTURE, TABLE = 0x01, 0x02, 0x03, 0x81, 0x82, 0x83
METADATA = {ICC, EXIF, XMP, ICC | 0x40, EXIF | 0x40, XMP | 0x40}
TIFF = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
Random = np.random.Generator


@dataclass
class Section:
    """One section of a file: type and payload."""

    kind: int
    payload: bytes


@dataclass
class Parts:
    """A file taken apart: header bytes without checksum, sections, and the streams after them."""

    head: bytes
    sections: list[Section]
    streams: list[bytes] = field(default_factory=list)

    def seal(self) -> bytes:
        """The file with all checksums right; a tile table is made anew from the streams."""
        out = self.head + _crc(self.head)
        for section in self.sections:
            payload = section.payload
            if section.kind == TABLE and not payload:
                payload = b"".join(write_varint(len(s)) + _crc(s) for s in self.streams)
            start = bytes((section.kind,)) + write_varint(len(payload))
            out += start + _crc(start + payload) + payload
        return out + b"".join(self.streams)


@dataclass(frozen=True)
class Mutant:
    """A sealed file made from `origin`, and what may differ from it: "metadata" or nothing.

    `donor` names the file whose whole picture it may show instead, "" for none.
    """

    kind: str
    origin: str
    data: bytes
    free: str = ""
    donor: str = ""


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def split(data: bytes) -> Parts:
    """Takes a valid file apart."""
    _, position = split_header(data)
    parts = Parts(data[: position - 4], [])
    while position < len(data):
        kind = data[position]
        length, body = read_varint(data, position + 1)
        payload = data[body + 4 : body + 4 + length]
        position = body + 4 + length
        parts.sections.append(Section(kind, b"" if kind == TABLE else payload))
        if kind == TABLE:
            break
    if position < len(data):
        parts.streams = list(container.read(data).tiles)
    return parts


def noise(height: int, width: int, channels: int, seed: int) -> npt.NDArray[np.uint8]:
    """Pixels with the 1/f amplitude spectrum of photos, uint8 (height, width, channels)."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / max(height, width))
    spectrum = np.fft.fft2(rng.normal(size=(channels, height, width))) * amplitude
    planes = np.real(np.fft.ifft2(spectrum))
    pixels = 128 + 45 * planes / max(float(planes.std()), 1e-6)
    return np.clip(pixels, 0, 255).round().astype(np.uint8).transpose(1, 2, 0).copy()


def samples(codec: Codec) -> dict[str, bytes]:
    """Ten files from 1 x 1 to 130 x 80: layouts, alpha of all kinds, metadata, several tiles."""
    soft = (np.add.outer(np.arange(40), 3 * np.arange(33)) % 255 + 1).astype(np.uint8)
    some: dict[str, Any] = {
        "icc": b"profile " * 40,
        "exif": TIFF,
        "xmp": b"<x:xmpmeta>" + b" " * 60,
    }
    pictures: dict[str, tuple[Picture, float]] = {
        "one pixel": (Picture(noise(1, 1, 3, 0)), 50),
        "grey line": (Picture(noise(70, 1, 1, 1)), 80),
        # grey in three planes, which no angles of colour suit
        "colour": (Picture(np.repeat(noise(96, 80, 1, 2), 3, 2)), 50),
        "colour, same header": (Picture(np.repeat(noise(96, 80, 1, 3), 3, 2)), 50),
        "colour, finer": (Picture(noise(96, 80, 3, 4)), 90),
        "soft alpha": (Picture(noise(40, 33, 1, 5), soft), 60),
        "constant alpha": (Picture(noise(64, 64, 3, 6), np.full((64, 64), 9, np.uint8)), 30),
        "alpha and metadata": (Picture(noise(40, 33, 3, 7), soft, **some), 60),
    }
    files = {name: codec.encode(p, quality=quality) for name, (p, quality) in pictures.items()}
    before = tiles.ONE_TILE_PIXELS, tiles.TILE_LOG2
    tiles.ONE_TILE_PIXELS, tiles.TILE_LOG2 = 0, 6
    try:
        files["grey tiles"] = codec.encode(Picture(noise(130, 70, 1, 8)), quality=40)
        tiled = Picture(np.full((80, 128, 3), 77, np.uint8), **some)
        files["constant tiles, metadata"] = codec.encode(tiled, quality=70)
    finally:
        tiles.ONE_TILE_PIXELS, tiles.TILE_LOG2 = before
    return files


def scrambled(data: bytes, rng: Random) -> bytes:
    """Bytes flipped, replaced, cut off, added, repeated or cleared."""
    out = bytearray(data)
    at = int(rng.integers(len(out)))
    match int(rng.integers(7)):
        case 0 | 1:
            out[at] ^= 1 << int(rng.integers(8))
        case 2:
            out[at] = int(rng.integers(256))
        case 3:
            del out[at:]
        case 4:
            out += rng.bytes(int(rng.integers(1, 9)))
        case 5:
            out[at:at] = out[at : at + int(rng.integers(1, 20))]
        case _:
            out[at : at + 8] = bytes((int(rng.choice([0, 0xFF])),)) * len(out[at : at + 8])
    return bytes(out)


def _header_field(parts: Parts, header: Header, rng: Random) -> None:
    side = int(rng.choice([1, 2, 3, 40, 64, 65, 127, 128, 129, 4096, 2**20, 2**31 - 1]))
    changes: list[dict[str, Any]] = [
        {"width": side}, {"height": side},
        {"width": header.width + 1}, {"height": max(header.height - 1, 1)},
        {"layout": str(rng.choice(["L", "LA", "RGB", "RGBA"]))},
        {"rate": int(rng.integers(65536))}, {"rate": max(header.rate - 1, 0)},
        {"rate": header.rate + int(rng.integers(1, 4))},
        {"tile_log2": int(rng.choice([0, 6, 7, 10, 15]))}, {"portable": not header.portable},
        {"model_id": rng.bytes(4)}, {"adaptation": (int(rng.integers(2048)),)},
    ]  # fmt: skip
    changed = replace(header, **changes[int(rng.integers(len(changes)))])
    parts.head = write_header(changed)[:-4]


def _stream(parts: Parts, rng: Random) -> None:
    """Damages a stream, or exchanges two, or moves the border between two."""
    if not parts.streams:
        parts.sections[-1].payload = scrambled(parts.sections[-1].payload, rng)
        return
    i, j = (int(k) for k in rng.integers(len(parts.streams), size=2))
    match int(rng.integers(4)):
        case 0 if i != j:
            parts.streams[i], parts.streams[j] = parts.streams[j], parts.streams[i]
        case 1 if i + 1 < len(parts.streams):
            both, cut = parts.streams[i] + parts.streams[i + 1], int(rng.integers(1, 9))
            parts.streams[i : i + 2] = [both[:cut], both[cut:]]
        case 2:
            del parts.streams[i]
        case _:
            parts.streams[i] = scrambled(parts.streams[i], rng)


def _sections(parts: Parts, rng: Random) -> str:
    """Removes, repeats, moves, adds or renames a section; returns what may change."""
    i = int(rng.integers(len(parts.sections)))
    section = parts.sections[i]
    match int(rng.integers(5)):
        case 0:
            del parts.sections[i]
            return "metadata" if section.kind in METADATA else ""
        case 1:
            parts.sections.insert(int(rng.integers(i + 1)), replace(section))
        case 2:
            parts.sections.insert(int(rng.integers(len(parts.sections))), parts.sections.pop(i))
            return "metadata"  # metadata in another order is the same file
        case 3:
            kind = int(rng.integers(256))
            content = rng.bytes(int(rng.integers(1, 30)))
            parts.sections.insert(int(rng.integers(i + 1)), Section(kind, content))
            return "metadata" if kind in METADATA else ""
        case _:
            was, section.kind = section.kind, int(rng.integers(256))
            return "metadata" if {was, section.kind} & METADATA else ""
    return ""


def _payload(parts: Parts, kinds: set[int], rng: Random) -> bool:
    """Damages the content of one section of these kinds, if there is one."""
    found = [section for section in parts.sections if section.kind in kinds]
    if not found:
        return False
    section = found[int(rng.integers(len(found)))]
    section.payload = scrambled(section.payload, rng)
    return True


KINDS: tuple[str, ...] = (
    "header field", "header byte", "stream", "alpha", "metadata", "sections", "splice",
)  # fmt: skip


def mutant(files: dict[str, bytes], number: int) -> Mutant:
    """Mutation `number`, always the same; kinds and files take turns."""
    rng = np.random.default_rng((number, 20))
    kind = KINDS[number % len(KINDS)]
    names = list(files)
    origin = names[int(rng.integers(len(names)))]
    parts = split(files[origin])
    free, donor = "", ""
    if kind == "header field":
        _header_field(parts, split_header(files[origin])[0], rng)
    elif kind == "header byte":
        parts.head = parts.head[:3] + scrambled(parts.head[3:], rng)
    elif kind == "sections":
        free = _sections(parts, rng)
    elif kind == "splice":
        donor = names[int(rng.integers(len(names)))]
        other = split(files[donor])
        parts = Parts(parts.head, parts.sections[:-1] + other.sections[-1:], other.streams)
    elif kind == "metadata" and _payload(parts, METADATA, rng):
        free = "metadata"
    elif not (kind == "alpha" and _payload(parts, {ALPHA}, rng)):
        kind = "stream"
        _stream(parts, rng)
    return Mutant(kind, origin, parts.seal(), free, donor)
