"""A Picture → a Pillow image or a file in another image format."""

from __future__ import annotations

import io
import os
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from PIL import Image, PngImagePlugin, features

from pliant.errors import MissingError, UsageError
from pliant.files import output_file
from pliant.metadata import NOTE_EXIF, describing_tags, with_prefix
from pliant.picture import Picture

_ALL_MODES: Final = ("L", "LA", "RGB", "RGBA")
_JPEG_SEGMENT: Final = 65_000
"""Longer EXIF and XMP blocks do not fit the single segment that Pillow writes."""
_TIFF_XMP: Final = 700


@dataclass(frozen=True)
class Format:
    """How one output format is written: Pillow's name, modes, default options, metadata or not."""

    pillow: str
    modes: tuple[str, ...] = _ALL_MODES
    options: dict[str, Any] = field(default_factory=dict)
    metadata: bool = False


# Lossless where the format can, else nearly so: the losses belong into the .pli file.
FORMATS: Final[dict[str, Format]] = {
    # level 3 is twice as fast as the default, and smaller on photos
    "png": Format("PNG", options={"compress_level": 3}, metadata=True),
    "jpg": Format("JPEG", ("L", "RGB"), {"quality": 95, "subsampling": "4:4:4"}, metadata=True),
    "webp": Format("WEBP", ("RGB", "RGBA"), {"lossless": True}, metadata=True),
    "avif": Format("AVIF", ("RGB", "RGBA"), {"quality": 95, "subsampling": "4:4:4"}, metadata=True),
    "tiff": Format("TIFF", metadata=True),
    "jp2": Format("JPEG2000"),
    "qoi": Format("QOI", ("RGB", "RGBA")),
    "tga": Format("TGA"),
    "bmp": Format("BMP", ("L", "RGB")),
    "ppm": Format("PPM", ("L", "RGB")),
}
_ALIASES: Final = {"jpeg": "jpg", "jpe": "jpg", "tif": "tiff", "pgm": "ppm", "pnm": "ppm"}


def format_for(name: str) -> str:
    """Return the key of FORMATS for a format name or a file extension with or without dot.

    Raises UsageError, naming the known formats, when there is none.
    """
    key = name.lower().removeprefix(".")
    key = _ALIASES.get(key, key)
    if key not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(
            f"images cannot be written as {name or 'a file without extension'!r};"
            f" the known formats are {known}"
        )
    return key


def to_pil(picture: Picture) -> Image.Image:
    """Return a Pillow image of mode L, LA, RGB or RGBA with the metadata in its ``info``."""
    pixels = picture.pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    if picture.icc is not None:
        image.info["icc_profile"] = picture.icc
    if picture.exif is not None:
        image.info["exif"] = with_prefix(picture.exif)
    if picture.xmp is not None:
        image.info["xmp"] = picture.xmp
    return image


def save(
    picture: Picture,
    target: str | os.PathLike[str] | IO[bytes],
    format: str | None = None,
    *,
    force: bool = False,
    **options: Any,
) -> tuple[str, ...]:
    """Write the picture to a path or stream and return notes on what the format cannot hold.

    format: a key of FORMATS or an alias; None takes it from the extension of the path.
    force: replace an existing file. options: go to Pillow's writer, over the defaults.
    Raises UsageError for an unknown format, for transparency that the format cannot hold or a
    picture it cannot store, MissingError when this Pillow lacks the format, and what
    ``files.output_file`` raises. A path is written completely or not at all.
    """
    if isinstance(target, (str, os.PathLike)):
        key = format_for(format if format is not None else Path(target).suffix)
        image, arguments, notes = _prepared(picture, key, options)
        with output_file(target, force=force) as stream:
            if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return notes + _write(image, stream, key, arguments)
            return notes + _write_at_once(image, stream, key, arguments)
    key = format_for(format if format is not None else "png")
    image, arguments, notes = _prepared(picture, key, options)
    return notes + _write_at_once(image, target, key, arguments)


def _prepared(
    picture: Picture, key: str, options: dict[str, Any]
) -> tuple[Image.Image, dict[str, Any], tuple[str, ...]]:
    """Return the image in a mode of the format, the writer's arguments, and notes."""
    form = FORMATS[key]
    Image.init()
    if form.pillow not in Image.SAVE:
        raise MissingError(f"this Pillow was built without support for {form.pillow}")
    notes = []
    if picture.alpha is not None and not any(mode.endswith("A") for mode in form.modes):
        if (picture.alpha != 255).any():
            raise UsageError(f"{key} holds no transparency; choose png, webp, avif or tiff")
        picture = Picture(picture.pixels, None, picture.icc, picture.exif, picture.xmp)
        notes.append(f"{key} holds no alpha; the channel was opaque and was left out")
    image = to_pil(picture)
    image.info.clear()  # everything is passed as an argument
    if image.mode not in form.modes:
        image = image.convert(image.mode.replace("L", "RGB"))
    blocks, lost = _metadata_arguments(picture, key, grey=image.mode in ("L", "LA"))
    if lost:
        notes.append(f"{key} cannot hold the {', '.join(lost)} of this image; left out")
    return image, {**form.options, **blocks, **options}, tuple(notes)


def _metadata_arguments(
    picture: Picture, key: str, *, grey: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return the writer's arguments for the metadata and the names of what is lost."""
    segment = _JPEG_SEGMENT if key == "jpg" else None
    arguments: dict[str, Any] = {}
    lost = []
    holds = FORMATS[key].metadata
    if picture.icc is not None:
        if holds and grey == (picture.pixels.shape[2] == 1):
            arguments["icc_profile"] = picture.icc
        else:
            lost.append("ICC profile")
    if picture.exif is not None:
        if holds and (segment is None or len(picture.exif) <= segment):
            arguments["exif"] = with_prefix(picture.exif)
        else:
            lost.append("EXIF")
    if picture.xmp is not None:
        if holds and (segment is None or len(picture.xmp) <= segment):
            arguments.update(_xmp_argument(picture.xmp, key))
        else:
            lost.append("XMP")
    return arguments, lost


def _xmp_argument(xmp: bytes, key: str) -> dict[str, Any]:
    if key == "png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        return {"pnginfo": chunks}
    return {"xmp": xmp}


def _write_at_once(
    image: Image.Image, stream: IO[bytes], key: str, arguments: dict[str, Any]
) -> tuple[str, ...]:
    """Write to a stream that may be a pipe: some writers seek, and a second try begins anew."""
    buffer = io.BytesIO()
    notes = _write(image, buffer, key, arguments)
    stream.write(buffer.getbuffer())
    return notes


def _write(
    image: Image.Image, stream: IO[bytes], key: str, arguments: dict[str, Any]
) -> tuple[str, ...]:
    """Write to an empty file, without EXIF where it fails with it; return a note in that case."""
    try:
        _write_all(image, stream, key, arguments)
    except Exception as error:  # Pillow raises half a dozen types on damaged EXIF
        refused = isinstance(error, OSError) and error.errno is not None
        if "exif" not in arguments or refused or isinstance(error, MemoryError):
            raise
    else:
        return ()
    stream.seek(0)
    stream.truncate()
    rest = {name: value for name, value in arguments.items() if name != "exif"}
    _write_all(image, stream, key, rest)
    return (NOTE_EXIF,)


def _write_all(image: Image.Image, stream: IO[bytes], key: str, arguments: dict[str, Any]) -> None:
    try:
        if key == "tiff":
            arguments = _tiff_arguments(arguments)
        image.save(stream, FORMATS[key].pillow, **arguments)
    except (OSError, ValueError, struct.error, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UsageError(f"this image cannot be written as {key}: {error}") from error


def _tiff_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """TIFF keeps EXIF and XMP as tags of its own: hand both over as one table.

    EXIF's tags of storage are those of another file: Pillow would store this picture by them.
    """
    arguments = dict(arguments)
    tags: dict[int, Any] = {}
    if "exif" in arguments:
        exif = Image.Exif()
        exif.load(arguments.pop("exif"))
        tags = describing_tags(exif)
    # Pillow has libtiff compress, and fails to hand it sub-tables; without it, it writes them.
    tables = any(isinstance(value, dict) for value in tags.values())
    if features.check("libtiff") and not tables:
        arguments.setdefault("compression", "tiff_adobe_deflate")
    if "xmp" in arguments:
        tags[_TIFF_XMP] = arguments.pop("xmp")
    if tags:
        arguments.setdefault("tiffinfo", tags)
    return arguments
