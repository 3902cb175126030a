"""What tests of the command line share: the program with the stand-in codec, and small pictures."""

from __future__ import annotations

import os
import sys

import fake_codec
import numpy as np
from PIL import Image

FAKE = [sys.executable, fake_codec.__file__]
# As users run it: with buffered output.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


def photo(path: str, size: tuple[int, int] = (9, 7), mode: str = "RGB") -> np.ndarray:
    """Writes noise; returns its pixels."""
    image = Image.effect_noise(size, 90).convert(mode)
    image.save(path)
    return np.asarray(image)


def pixels(path: str) -> np.ndarray:
    """Of an image file."""
    with Image.open(path) as image:
        return np.asarray(image)
