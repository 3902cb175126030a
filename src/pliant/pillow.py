"""The Pillow plugin: ``Image.open`` and ``Image.save`` on .pli files.

Opening reads header and metadata only; the weights are loaded when pixels are asked for.
"""

from __future__ import annotations

import dataclasses
from typing import IO, TYPE_CHECKING, Any, Final

from PIL import Image, ImageFile

from pliant.container import read_metadata
from pliant.errors import UsageError
from pliant.header import MAGIC
from pliant.limits import check_limits
from pliant.metadata import clean_exif, with_prefix

if TYPE_CHECKING:
    from pliant.picture import Picture

FORMAT: Final = "PLIANT"
MIME: Final = "image/x-pliant"
EXTENSION: Final = ".pli"
_GOALS: Final = ("quality", "bpp", "size", "psnr")


class PliantImageFile(ImageFile.ImageFile):
    """A .pli file as a Pillow image of mode L, LA, RGB or RGBA."""

    format = FORMAT
    format_description = "Pliant learned image codec"
    _data: bytes | None = None
    """What is still to be decoded; unpickled images and copies come without and have pixels."""

    def _open(self) -> None:
        if self.fp is None or not _accept(prefix := self.fp.read(len(MAGIC))):
            raise SyntaxError("not a Pliant file")
        self._data = prefix + self.fp.read()
        content = read_metadata(self._data)
        header = content.header
        check_limits(header)
        self._size = header.width, header.height
        self._mode = header.layout
        if content.icc is not None:
            self.info["icc_profile"] = content.icc
        if content.exif is not None:
            self.info["exif"] = with_prefix(content.exif)
        if content.xmp is not None:
            self.info["xmp"] = content.xmp
        self.tile = []

    def load(self) -> Any:
        """Decode on first use; raises DamagedError, LimitError or MissingError."""
        if self._data is not None:
            from pliant.codec import model_for
            from pliant.export import to_pil

            self.im = to_pil(model_for(self._data).decode(self._data)).im
            self._data = None
            # Pillow does so after decoding the tiles of a file, which there are none of.
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
            self.fp = None
        return super().load()


def register_pillow() -> None:
    """Make Pillow open and save .pli files; calling it again does nothing."""
    if FORMAT in Image.OPEN:
        return
    Image.register_open(FORMAT, PliantImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, stream: IO[bytes], filename: str | bytes) -> None:
    """Write the image; Pillow's ``save`` passes its keywords in ``encoderinfo``.

    Keywords: one of quality (0 to 100), bpp, size (bytes), psnr (decibels); model; exif,
    icc_profile and xmp replace the image's own blocks, and an empty value drops them.
    """
    from pliant.codec import load
    from pliant.image import read

    options = dict(image.encoderinfo)
    goal = {name: options[name] for name in _GOALS if options.get(name) is not None}
    if len(goal) > 1:
        raise UsageError(f"only one of {', '.join(goal)} can be the target")
    picture = _with_blocks(read(image), options)
    stream.write(load(options.get("model", "default")).encode(picture, **goal))


def _with_blocks(picture: Picture, options: dict[str, Any]) -> Picture:
    """Return the picture with the metadata that the caller gave instead of its own."""
    icc, exif, xmp = picture.icc, picture.exif, picture.xmp
    if "icc_profile" in options:
        icc = options["icc_profile"] or None
    if "exif" in options:
        given = options["exif"] or b""
        exif = clean_exif(given.tobytes() if isinstance(given, Image.Exif) else given)
    if "xmp" in options:
        given = options["xmp"]
        xmp = (given.encode() if isinstance(given, str) else given) or None
    return dataclasses.replace(picture, icc=icc, exif=exif, xmp=xmp)
