"""EXIF, XMP and ICC of an opened image: found, normalised, the orientation reset in place.

Blocks stay byte for byte as they are, except for the orientation: a rewritten EXIF would lose
the maker notes, whose inner offsets nobody can adjust.
"""

from __future__ import annotations

import re
import struct
from typing import Any, Final

from PIL import Image

NOTE_EXIF: Final = "EXIF is damaged; left out"
_ORIENTATION: Final = 0x0112
_EXIF_PREFIX: Final = b"Exif\0\0"
_HEADER: Final = 8
_BYTE_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}
_XMP_ORIENTATION: Final = re.compile(
    rb"""(tiff:Orientation\s*=\s*["']|<tiff:Orientation>\s*)[1-8](?=\s*["'<])"""
)
# Tags of a TIFF file that describe the picture rather than its storage, and the two sub-tables.
_TIFF_TAGS: Final = (270, 271, 272, 282, 283, 296, 305, 306, 315, 33432)
_TIFF_TABLES: Final = (0x8769, 0x8825)
_INTEROPERABILITY: Final = 0xA005
_RESOLUTION: Final = {282, 283, 296}
# The kinds that Pillow gives as an int, and struct's letter for the 1 of each.
_INTEGERS: Final = {3: "H", 4: "I", 6: "B", 8: "H", 9: "I", 13: "I", 16: "Q"}
_TRANSPOSES: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF or XMP orientation asks; the same object if upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises half a dozen types on damaged EXIF; then nothing is known
        return image
    transpose = _TRANSPOSES.get(orientation) if isinstance(orientation, int) else None
    return image if transpose is None else image.transpose(transpose)


def exif_of(image: Image.Image) -> tuple[bytes | None, tuple[str, ...]]:
    """Return EXIF from its byte order mark on, orientation reset to 1, and a note if it is lost.

    None without one, or when Pillow cannot write it anew where it has no block of its own.
    """
    exif = image.info.get("exif")
    try:
        if not exif and "Raw profile type exif" in image.info:
            exif = image.getexif().tobytes()
        if not exif and image.format == "TIFF":
            exif = _tiff_exif(image)
    except MemoryError:
        raise
    except Exception:  # values of a wrong kind raise half a dozen types
        return None, (NOTE_EXIF,)
    return clean_exif(exif) if isinstance(exif, bytes) else None, ()


def clean_exif(exif: bytes) -> bytes | None:
    """Return EXIF without the prefix of JPEG, orientation reset to 1; None when it is no EXIF."""
    exif = exif.removeprefix(_EXIF_PREFIX)
    return reset_orientation(exif) if exif[:4] in _BYTE_ORDERS else None


def xmp_of(image: Image.Image) -> bytes | None:
    """Return the XMP packet, its orientation reset to 1; None without one."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if not isinstance(xmp, bytes) or not xmp:
        return None
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def icc_of(image: Image.Image) -> bytes | None:
    """Return the ICC profile as it is; None without one."""
    icc = image.info.get("icc_profile")
    return icc if isinstance(icc, bytes) and icc else None


def icc_space(icc: bytes) -> str:
    """Return the colour space a profile is for: ``RGB``, ``GRAY``, ``CMYK`` …; "" if unknown."""
    return icc[16:20].decode("ascii", "replace").strip() if icc[36:40] == b"acsp" else ""


def with_prefix(exif: bytes) -> bytes:
    """Return EXIF as Pillow's ``info`` and its writers expect it."""
    return _EXIF_PREFIX + exif


def reset_orientation(exif: bytes) -> bytes:
    """Return the block with the orientation tag of its first table set to 1, all else untouched.

    exif starts with its byte order mark. A damaged block comes back as it is from the damage on.
    """
    order, block = _BYTE_ORDERS[exif[:4]], bytearray(exif)
    try:
        (table,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, table)
        for position in range(table + 2, table + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", exif, position)
            if tag != _ORIENTATION or kind not in _INTEGERS:
                continue
            form, place = order + _INTEGERS[kind], position + 8
            if max(values, 1) * struct.calcsize(form) > 4:  # then the entry only says where
                (place,) = struct.unpack_from(order + "I", exif, place)
            if place >= _HEADER:
                struct.pack_into(form, block, place, 1)
    except struct.error:
        pass
    return bytes(block)


def describing_tags(exif: Image.Exif) -> dict[int, Any]:
    """Return the tags that describe the picture rather than its storage; sub-tables as dicts.

    Raises almost anything on damaged EXIF.
    """
    tags = {tag: exif[tag] for tag in _TIFF_TAGS if tag in exif}
    for table in _TIFF_TABLES:
        content = dict(exif.get_ifd(table))
        content.pop(_INTEROPERABILITY, None)  # a place in the old file, which says nothing here
        if content:
            tags[table] = content
    return tags


def _tiff_exif(image: Image.Image) -> bytes | None:
    """Collect from the tags of a TIFF file what EXIF would hold in another format."""
    exif = Image.Exif()
    exif.update(describing_tags(image.getexif()))
    # A resolution alone is in nearly every TIFF file and not worth a block.
    return exif.tobytes() if set(exif) - _RESOLUTION else None
