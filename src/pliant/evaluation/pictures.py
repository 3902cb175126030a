"""The pictures of an evaluation: which files of a folder, and their pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pliant.errors import DamagedError, UsageError
from pliant.evaluation.metrics import Pixels
from pliant.image import decoding

IMAGE_SUFFIXES = frozenset({".png", ".webp", ".avif", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder in the order of their names.

    Raises:
        UsageError: there is none, or no folder.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise UsageError(f"no images in {folder}")
    return paths


def read_rgb(path: Path) -> Pixels:
    """The upright image as uint8 (H, W, 3).

    Raises:
        DamagedError: it cannot be read. LimitError: Pillow finds it too large.
    """
    try:
        with decoding(), Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except OSError as error:
        raise DamagedError(f"cannot be read: {error.strerror or error}") from None


def digest(pixels: Pixels) -> str:
    """16 hexadecimal digits that tell one picture from another."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]
