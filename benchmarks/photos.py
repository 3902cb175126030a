"""Photos for the benchmarks: a folder of them, or those that come with scikit-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pliant.errors import MissingError
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import images_in, read_rgb

BUNDLED = ("astronaut", "chelsea", "coffee", "rocket")  # in scikit-image's wheel, no download


def load(folder: Path | None, limit: int, max_pixels: int = 1_000_000) -> dict[str, Pixels]:
    """Up to `limit` photos by name; larger ones than `max_pixels` are scaled down.

    Raises:
        MissingError: no folder was given and scikit-image is not installed.
    """
    if folder is None:
        return dict(list(_bundled().items())[:limit])
    paths = images_in(folder)[:limit]
    return {path.stem: _shrink(read_rgb(path), max_pixels) for path in paths}


def mosaic(photos: list[Pixels], height: int, width: int) -> Pixels:
    """One (height, width, 3) picture tiled from photos at their own scale, so with their detail."""
    tile_height = min(photo.shape[0] for photo in photos)
    tile_width = min(photo.shape[1] for photo in photos)
    rows, columns = -(-height // tile_height), -(-width // tile_width)
    tiles = [photos[i % len(photos)][:tile_height, :tile_width] for i in range(rows * columns)]
    strips = [np.hstack(tiles[r * columns : (r + 1) * columns]) for r in range(rows)]
    return np.ascontiguousarray(np.vstack(strips)[:height, :width])


def _bundled() -> dict[str, Pixels]:
    try:
        from skimage import data
    except ImportError as error:
        raise MissingError("sample photos need scikit-image: pip install 'pliant[demo]'") from error
    return {name: np.asarray(getattr(data, name)(), np.uint8) for name in BUNDLED}


def _shrink(pixels: Pixels, max_pixels: int) -> Pixels:
    height, width = pixels.shape[:2]
    factor = (max_pixels / (height * width)) ** 0.5
    if factor >= 1:
        return pixels
    size = (max(1, int(width * factor)), max(1, int(height * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
