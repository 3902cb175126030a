"""Anything that holds an image → a Picture; and back (``to_pil``, ``save``).

Pixels come out upright: the EXIF orientation is applied and its tag reset to 1.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pliant.errors import DamagedError, LimitError, PliantError, UsageError, reason_of
from pliant.export import FORMATS, format_for, save, to_pil
from pliant.header import MAGIC
from pliant.limits import Limits, check_pixels
from pliant.metadata import exif_of, upright, xmp_of
from pliant.modes import NOTE_16_BIT, convert, reduce_16_bit
from pliant.picture import Picture

__all__ = ["FORMATS", "Picture", "Source", "decoding", "format_for", "read", "save", "to_pil"]

Source = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | IO[bytes]
    | Image.Image
    | NDArray[np.generic]
    | Picture
)
"""A path, the bytes of an image file, an open file, a Pillow image, an array or a Picture."""

NOTE_FRAMES: Final = "only one picture of several was kept"


def read(source: Source, limits: Limits | None = None) -> Picture:
    """Return the image as 8-bit L, LA, RGB or RGBA, upright, with its metadata and notes.

    Arrays are (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4) of uint8, uint16 or bool.
    Raises DamagedError for content that is no readable image, UsageError for images without a
    sensible 8-bit form, LimitError above the pixel limits (ours and Pillow's), OSError when a
    path cannot be read.
    """
    if isinstance(source, Picture):
        check_pixels(source.width, source.height, limits)
        return source
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    if isinstance(source, Image.Image):
        return _from_pillow(source, limits)
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as stream:
            return read(stream, limits)  # a named pipe has no seek
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_stream(io.BytesIO(source), limits)
    if not hasattr(source, "read"):
        raise UsageError(f"an image cannot be read from {type(source).__name__}")
    if not getattr(source, "seekable", lambda: False)():  # many a file-like object lacks it
        source = io.BytesIO(source.read())
    return _from_stream(source, limits)


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Raise in our words what Pillow raises while it opens or decodes an image.

    DamagedError for content that is no readable image, LimitError for one that Pillow finds too
    large; OSError passes when the file itself cannot be read.
    """
    try:
        yield
    except (PliantError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise DamagedError("this is not an image in a format that Pillow reads") from None
    except Image.DecompressionBombError as error:
        sentence = reason_of(error).removesuffix(".")
        raise LimitError(
            f"Pillow refuses the image: {sentence} (raise it with --max-pixels)"
        ) from None
    except Exception as error:  # Pillow's decoders raise almost anything on damaged data
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedError(f"the image cannot be decoded: {_said(error)}") from error


def _said(error: Exception) -> str:
    """Return what Pillow says, where it was meant for people."""
    meant = isinstance(error, (OSError, SyntaxError, ValueError))
    if meant and error.args and isinstance(error.args[0], str) and error.args[0]:
        return reason_of(error)
    return "its data are damaged"


def _from_stream(stream: IO[bytes], limits: Limits | None) -> Picture:
    start = stream.tell()
    if stream.read(len(MAGIC)) == MAGIC:
        raise UsageError("this is already a Pliant file; decode it first")
    stream.seek(start)
    with decoding(), Image.open(stream) as image:
        return _from_pillow(image, limits)


def _from_pillow(image: Image.Image, limits: Limits | None) -> Picture:
    check_pixels(image.width, image.height, limits)
    if 0 in image.size:
        raise UsageError("an image needs at least one pixel")
    notes = []
    if getattr(image, "is_animated", False):
        notes.append(NOTE_FRAMES)
    # Pillow drops the low bytes of 16-bit colour while loading; only the tile list tells.
    if (
        any(";16" in str(tile[-1]) for tile in getattr(image, "tile", ()))
        and "16" not in image.mode
    ):
        notes.append(NOTE_16_BIT)
    with decoding():
        image.load()
        converted = convert(image)
        (exif, lost), xmp = exif_of(image), xmp_of(image)
        pixels, alpha = _planes(np.asarray(_turned(image, converted.image)))
    notes += [note for note in converted.notes + lost if note not in notes]
    return Picture(pixels, alpha, converted.icc, exif, xmp, tuple(notes))


def _turned(original: Image.Image, converted: Image.Image) -> Image.Image:
    """Turn the converted image as the original asks; conversion keeps ``info`` but not TIFF tags.

    Pillow turns TIFF images itself while loading and removes the tag, so nothing is turned twice.
    """
    if converted is not original:
        if original.format == "TIFF":
            return converted
        converted.info = original.info
    return upright(converted)


def _planes(array: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Split (H, W) or (H, W, 1 … 4) into contiguous colour (H, W, 1 or 3) and alpha (H, W)."""
    if array.ndim == 2:
        return np.array(array[..., None]), None
    if array.shape[2] in (2, 4):
        return np.ascontiguousarray(array[..., :-1]), np.ascontiguousarray(array[..., -1])
    return np.array(array), None


def _from_array(array: NDArray[np.generic], limits: Limits | None) -> Picture:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        raise UsageError(f"an array must be (H, W) or (H, W, 1 to 4), not {array.shape}")
    if 0 in array.shape:
        raise UsageError("an image needs at least one pixel")
    check_pixels(array.shape[1], array.shape[0], limits)
    notes: tuple[str, ...] = ()
    if array.dtype.kind == "u" and array.itemsize == 2:  # of either byte order
        array, notes = reduce_16_bit(array.astype(np.uint16)), (NOTE_16_BIT,)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype != np.uint8:
        raise UsageError(f"an array must hold uint8, uint16 or bool, not {array.dtype}")
    pixels, alpha = _planes(array.astype(np.uint8, copy=False))
    return Picture(pixels, alpha, notes=notes)
