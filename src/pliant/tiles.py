"""Which part of each latent belongs to which tile.

Tiles are squares with streams and contexts of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pliant import units

ONE_TILE_PIXELS = units.ONE_TILE_PIXELS  # pictures up to this size are one tile
TILE_LOG2 = 10  # of the side of a tile


@dataclass(frozen=True)
class Tile:
    """A rectangle of the padded picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The row after the last."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The column after the last."""
        return self.left + self.width

    def grown(self, margin: int, height: int, width: int) -> Tile:
        """With so many pixels more on every side, inside a picture of this size."""
        top, left = max(self.top - margin, 0), max(self.left - margin, 0)
        bottom, right = min(self.bottom + margin, height), min(self.right + margin, width)
        return Tile(top, left, bottom - top, right - left)

    def within(self, outer: Tile) -> Tile:
        """The same pixels, counted from the corner of `outer`."""
        return Tile(self.top - outer.top, self.left - outer.left, self.height, self.width)

    def crop(self, latent: Tensor, picture_height: int) -> Tensor:
        """The part of a latent (B, C, h, w) that this tile covers, as a view."""
        factor = picture_height // latent.shape[2]
        rows = slice(self.top // factor, self.bottom // factor)
        columns = slice(self.left // factor, self.right // factor)
        return latent[:, :, rows, columns]


def tile_log2(width: int, height: int) -> int:
    """What the file's header says: log2 of the tile size, or 0 for one tile."""
    return 0 if width * height <= ONE_TILE_PIXELS else TILE_LOG2


def plan(height: int, width: int, log2: int) -> Iterator[Tile]:
    """The tiles of a padded picture in the order of the file: rows from the top, left to right."""
    size = 1 << log2 if log2 else max(height, width)
    for top in range(0, height, size):
        for left in range(0, width, size):
            yield Tile(top, left, min(size, height - top), min(size, width - left))


def crop_all(latents: Sequence[Tensor], tile: Tile, picture_height: int) -> list[Tensor]:
    """The part of every latent that belongs to the tile."""
    return [tile.crop(latent, picture_height) for latent in latents]


def canvas(
    part: Sequence[Tensor], tile: Tile, height: int, width: int, dtype: torch.dtype
) -> list[Tensor]:
    """Zeros of the shapes that the latents `part` of one tile have for the whole padded picture."""
    whole = []
    for latent in part:
        factor = tile.height // latent.shape[2]
        shape = (1, latent.shape[1], height // factor, width // factor)
        whole.append(torch.zeros(shape, dtype=dtype, device=latent.device))
    return whole


def paste(whole: Sequence[Tensor], tile: Tile, picture_height: int, part: Sequence[Tensor]) -> None:
    """Writes the latents of one tile to their places."""
    for target, source in zip(crop_all(whole, tile, picture_height), part, strict=True):
        target.copy_(source)
