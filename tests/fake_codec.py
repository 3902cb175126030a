"""A lossless stand-in for ``pliant.codec``, so that file handling is tested without weights.

Run as a script it is the ``pliant`` program with this codec.
"""

from __future__ import annotations

import os
import sys
import time
import types
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

from pliant import image
from pliant.alpha import decode_alpha, encode_alpha
from pliant.container import Container, Header, read, write
from pliant.errors import DamagedError, LimitError, MissingError
from pliant.limits import check_limits
from pliant.picture import Picture

MODEL_ID = b"fake"


class Codec:
    """Pixels deflated into the tile stream; the rate parameter is ten times the quality."""

    name = "fake"

    def encode(
        self,
        source: Any,
        *,
        quality: float | None = None,
        bpp: float | None = None,
        size: int | None = None,
        psnr: float | None = None,
    ) -> bytes:
        picture = image.read(source)
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
        rate = round(10 * (50 if quality is None else quality))
        header = Header(picture.width, picture.height, picture.layout, MODEL_ID, rate)
        alpha = None if picture.alpha is None else encode_alpha(picture.alpha)
        stream = zlib.compress(picture.pixels.tobytes())
        data = write(Container(header, (stream,), alpha, picture.icc, picture.exif, picture.xmp))
        if size is not None and len(data) > size:
            raise LimitError(f"{size} bytes are too few; the smallest possible is {len(data)}")
        return data

    def decode(self, data: bytes) -> Picture:
        container = read(data)
        header = container.header
        check_limits(header)
        shape = header.height, header.width, header.channels
        raw = zlib.decompress(container.tiles[0])
        if len(raw) != np.prod(shape):
            raise DamagedError("the stream does not have the size of the image")
        pixels = np.frombuffer(raw, np.uint8).reshape(shape)
        alpha = None
        if header.has_alpha:
            alpha = decode_alpha(container.alpha, header.width, header.height)
        return Picture(pixels, alpha, container.icc, container.exif, container.xmp)


def load(model: str = "default", device: str = "cpu") -> Codec:
    if model != "default":
        raise MissingError(f"there is no model {model!r}")
    return Codec()


def model_for(data: bytes) -> Codec:
    return Codec()


def encode(source: Any, *, model: str = "default", **goal: Any) -> bytes:
    return load(model).encode(source, **goal)


def decode(data: bytes) -> Image.Image:
    return image.to_pil(model_for(data).decode(data))


@contextmanager
def installed() -> Iterator[None]:
    """Let ``pliant.codec`` be this module."""
    module = types.ModuleType("pliant.codec")
    for value in (Codec, load, model_for, encode, decode):
        setattr(module, value.__name__, value)
    before = sys.modules.get("pliant.codec")
    sys.modules["pliant.codec"] = module
    try:
        yield
    finally:
        if before is None:
            del sys.modules["pliant.codec"]
        else:
            sys.modules["pliant.codec"] = before


if __name__ == "__main__":
    from pliant.cli.main import program

    with installed():
        program()
