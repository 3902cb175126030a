"""The alpha plane: lossless and small; and colours under transparent pixels that cost nothing.

The coded plane starts with one byte that names the method:
0 constant (one byte follows), 1 rows as differences to the row above, deflated, 2 the payload of
a WebP VP8L chunk with grey pixels. A plane that is 255 everywhere is not stored at all.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from pliant.errors import DamagedError, LimitError, MissingError

_CONSTANT: Final = 0
_DEFLATED: Final = 1
_WEBP: Final = 2
_WEBP_MAX_SIDE: Final = 16383
_WEBP_MAX_PIXELS: Final = 80_000_000  # Pillow warns of larger ones, then refuses them
_VP8L_SIGNATURE: Final = 0x2F
_STRIP: Final = 256
"""Rows of the picture that are filled at a time."""


def encode_alpha(alpha: NDArray[np.uint8]) -> bytes | None:
    """Return the coded plane (H, W); None when every pixel is opaque."""
    first = int(alpha[0, 0])
    if (alpha == first).all():
        return None if first == 255 else bytes((_CONSTANT, first))
    candidates = [_deflate(alpha)]
    fits = max(alpha.shape) <= _WEBP_MAX_SIDE and alpha.size <= _WEBP_MAX_PIXELS
    if fits and features.check("webp"):
        candidates.append(_write_webp(alpha))
    return min(candidates, key=len)


def decode_alpha(data: bytes | None, width: int, height: int) -> NDArray[np.uint8]:
    """Return the plane, uint8 (height, width); ``None`` as data means opaque.

    Never makes more than the stated number of pixels. Raises DamagedError when the data does not
    describe exactly such a plane, MissingError when this Pillow lacks WebP, LimitError when it
    refuses the size.
    """
    if data is None:
        return np.full((height, width), 255, np.uint8)
    method, body = data[:1], data[1:]
    if method == bytes((_CONSTANT,)) and len(body) == 1:
        return np.full((height, width), body[0], np.uint8)
    if method == bytes((_DEFLATED,)):
        return _inflate(body, width, height)
    if method == bytes((_WEBP,)):
        return _read_webp(body, width, height)
    raise DamagedError("the alpha channel of the file is coded in an unknown way")


def fill_transparent(
    pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Return pixels (H, W, C) whose colour under alpha 0 continues the visible ones smoothly.

    Nobody sees these colours, but they would cost bits. Means of the visible pixels are taken at
    ever coarser scales (pull) and flow back into the holes (push). Visible pixels are untouched;
    the same array comes back when nothing is transparent.
    """
    if alpha is None or alpha.all():
        return pixels
    visible = alpha != 0
    if not visible.any():
        return np.full_like(pixels, 128)
    filled = pixels.copy()
    for channel in range(pixels.shape[2]):
        _fill_plane(filled[..., channel], visible)
    return filled


def _deflate(alpha: NDArray[np.uint8]) -> bytes:
    differences = alpha.copy()
    differences[1:] -= alpha[:-1]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return bytes((_DEFLATED,)) + packer.compress(differences.tobytes()) + packer.flush()


def _inflate(body: bytes, width: int, height: int) -> NDArray[np.uint8]:
    unpacker = zlib.decompressobj(-15)
    try:
        raw = unpacker.decompress(body, width * height)
        surplus = unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error:
        raise DamagedError("the alpha channel of the file cannot be inflated") from None
    if len(raw) != width * height or surplus or not unpacker.eof or unpacker.unused_data:
        raise DamagedError("the alpha channel of the file does not have the size of the image")
    differences = np.frombuffer(raw, np.uint8).reshape(height, width)
    return np.add.accumulate(differences, axis=0, dtype=np.uint8)


def _write_webp(alpha: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(alpha).convert("RGB")
    image.save(buffer, "WEBP", lossless=True, quality=70, method=4)
    data = buffer.getvalue()
    # RIFF, size, WEBP, then one chunk: VP8L, size, payload, perhaps a padding byte.
    (length,) = struct.unpack_from("<I", data, 16)
    if data[12:16] != b"VP8L" or length > len(data) - 20:
        return _deflate(alpha)
    return bytes((_WEBP,)) + data[20 : 20 + length]


def _read_webp(body: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """Decode after comparing the size that the stream declares with the image's."""
    if not features.check("webp"):
        raise MissingError("the alpha channel needs WebP, which this Pillow was built without")
    if len(body) < 5 or body[0] != _VP8L_SIGNATURE:
        raise DamagedError("the alpha channel of the file is damaged")
    (bits,) = struct.unpack_from("<I", body, 1)
    declared = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if declared != (width, height):
        raise DamagedError("the alpha channel of the file does not have the size of the image")
    padding = b"\0" * (len(body) & 1)
    chunk = b"WEBPVP8L" + struct.pack("<I", len(body)) + body + padding
    try:
        with Image.open(
            io.BytesIO(b"RIFF" + struct.pack("<I", len(chunk)) + chunk), formats=["WEBP"]
        ) as image:
            if image.size != (width, height):
                raise DamagedError("the alpha channel does not have the size of the image")
            return np.array(image.convert("RGB").getchannel("G"))
    except Image.DecompressionBombError as error:
        raise LimitError(f"Pillow refuses the alpha channel: {error}") from None
    except (OSError, ValueError, SyntaxError, RuntimeError):
        raise DamagedError("the alpha channel of the file cannot be decoded") from None


def _fill_plane(plane: NDArray[np.uint8], visible: NDArray[np.bool_]) -> None:
    """Fill the invisible cells of one channel (H, W) in place, strip by strip."""
    coarse = _filled(*_halved(plane, visible))
    rows = plane.shape[0]
    for top in range(0, rows, _STRIP):
        bottom = min(top + _STRIP, rows)
        # One coarse row more on either side, as interpolation looks there.
        first, last = max(top // 2 - 1, 0), min((bottom + 1) // 2 + 1, coarse.shape[0])
        fine = _doubled(coarse[first:last])[top - 2 * first : bottom - 2 * first]
        hole = ~visible[top:bottom]
        plane[top:bottom][hole] = np.rint(fine[:, : plane.shape[1]][hole]).astype(np.uint8)


def _filled(mean: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means with every cell of weight 0 filled from coarser scales."""
    if max(mean.shape) == 1 or weight.all():
        return mean
    coarse = _doubled(_filled(*_halved(mean, weight)))[: mean.shape[0], : mean.shape[1]]
    return np.where(weight > 0, mean, coarse)


def _halved(
    values: NDArray[np.uint8] | NDArray[np.float32], weight: NDArray[np.bool_] | NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weighted means over 2 × 2 cells and whether a cell saw any weight (0 or 1)."""
    shape = (values.shape[0] + 1) // 2, (values.shape[1] + 1) // 2
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            part = weight[dy::2, dx::2]
            rows, columns = part.shape
            count[:rows, :columns] += part
            total[:rows, :columns] += values[dy::2, dx::2] * part
    mean = (total / np.maximum(count, 1)).astype(np.float32, copy=False)
    return mean, np.minimum(count, np.float32(1))


def _doubled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return bilinear interpolation to twice the rows and columns."""
    for axis in (0, 1):
        length = values.shape[axis]
        before = values.take(np.maximum(np.arange(length) - 1, 0), axis)
        after = values.take(np.minimum(np.arange(length) + 1, length - 1), axis)
        pair = np.stack((0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after), axis + 1)
        shape = list(values.shape)
        shape[axis] = 2 * length
        values = pair.reshape(shape)
    return values
