"""A decoded image in memory: colour, alpha, and the metadata that travels with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pliant.header import Layout


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright 8-bit image.

    pixels: uint8 (H, W, 1) for grey or (H, W, 3) for RGB. alpha: uint8 (H, W), 255 is opaque.
    icc, xmp: as stored in image files; exif: from its byte order mark on (``II`` or ``MM``),
    orientation 1 or absent. notes: what reading changed, one sentence each.
    Raises ValueError when the arrays do not fit together.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] not in (1, 3):
            raise ValueError(f"pixels must be uint8 (H, W, 1 or 3), not {shape}")
        if 0 in shape:
            raise ValueError(f"an image needs at least one pixel, not {shape}")
        if self.alpha is not None and self.alpha.shape != shape[:2]:
            raise ValueError(f"alpha must be (H, W) like the pixels, not {self.alpha.shape}")
        if self.alpha is not None and self.alpha.dtype != np.uint8:
            raise ValueError("alpha must be uint8")

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[1])

    @property
    def layout(self) -> Layout:
        """The name of the channels, as in Pillow."""
        if self.pixels.shape[2] == 1:
            return "L" if self.alpha is None else "LA"
        return "RGB" if self.alpha is None else "RGBA"
