"""Pictures of pictures: one place in the original and in every codec's version, side by side.

Crops are shown pixel by pixel: every pixel becomes a square of zoom x zoom equal ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pliant.errors import UsageError
from pliant.evaluation.metrics import Pixels

CROP_SIDE, CELL_SIDE = 128, 384
_GAP, _LINE, _FONT_SIZE = 10, 18, 14
_Cell: TypeAlias = tuple[tuple[str, ...], Image.Image]  # the lines above a picture, and it
_Values: TypeAlias = npt.NDArray[np.float64]
_PAPER, _INK, _FRAME = "#f2f2f2", "black", ("white", "red")


class Box(NamedTuple):
    """A part of a picture, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    def crop(self, pixels: Pixels) -> Pixels:
        """The pixels inside."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]

    def check(self, pixels: Pixels) -> None:
        """Raises UsageError unless the box has pixels and lies inside the picture."""
        height, width = pixels.shape[:2]
        inside = self.x >= 0 and self.y >= 0
        inside = inside and self.x + self.width <= width and self.y + self.height <= height
        if not inside or self.width < 1 or self.height < 1:
            raise UsageError(f"the crop must lie inside the picture of {width} × {height} pixels")


@dataclass(frozen=True)
class Version:
    """What a codec made of the picture, and the lines that stand above it."""

    lines: tuple[str, ...]
    pixels: Pixels


def most_different(original: Pixels, others: Sequence[Pixels], side: int = CROP_SIDE) -> Box:
    """The square where the others together differ most from the original, by squared error."""
    errors = (squared_error(original, other) for other in others)
    return highest(sum(errors, start=np.zeros(original.shape[:2])), side)


def squared_error(original: Pixels, other: Pixels) -> _Values:
    """(H, W), summed over the channels."""
    difference = original.astype(np.float64) - other
    return np.asarray((difference * difference).sum(2))


def highest(values: _Values, side: int = CROP_SIDE) -> Box:
    """The square over which the values (H, W) have the largest sum.

    What is smaller than `side` is taken whole in that direction.
    """
    height, width = (min(side, length) for length in values.shape)
    # All sums at once by the integral image.
    integral = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    upper, lower = integral[:-height], integral[height:]
    sums = lower[:, width:] - lower[:, :-width] - upper[:, width:] + upper[:, :-width]
    y, x = np.unravel_index(int(sums.argmax()), sums.shape)
    return Box(int(x), int(y), width, height)


def draw(original: Pixels, versions: Sequence[Version], box: Box, columns: int = 4) -> Image.Image:
    """The whole picture with the box marked, then the box in the original and in every version.

    Args:
        columns: cells in a row.
    """
    # The font that comes with Pillow has no ×.
    zoom = max(1, CELL_SIDE // max(box.width, box.height))
    height, width = original.shape[:2]
    where = f"crops: {box.width}x{box.height} at {box.x}, {box.y}"
    cells: list[_Cell] = [
        (("whole picture", f"{width}x{height}", where), _marked(original, box)),
        (("original", f"every pixel x{zoom}"), _zoomed(box.crop(original), zoom)),
    ]
    cells += [(version.lines, _zoomed(box.crop(version.pixels), zoom)) for version in versions]
    return _grid(cells, columns)


def stack(sheets: Sequence[Image.Image]) -> Image.Image:
    """The sheets below each other."""
    width, height = max(s.width for s in sheets), sum(s.height for s in sheets)
    result = Image.new("RGB", (width, height), _PAPER)
    y = 0
    for sheet in sheets:
        result.paste(sheet, (0, y))
        y += sheet.height
    return result


def _grid(cells: Sequence[_Cell], columns: int) -> Image.Image:
    font = ImageFont.load_default(_FONT_SIZE)
    texts = [font.getlength(line) for lines, _ in cells for line in lines]
    width = math.ceil(max(*texts, *(picture.width for _, picture in cells))) + _GAP
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    captions = [max(len(lines) for lines, _ in row) * _LINE + _GAP // 2 for row in rows]
    heights = [max(picture.height for _, picture in row) + _GAP for row in rows]
    size = (len(rows[0]) * width + _GAP, sum(captions) + sum(heights) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    y = _GAP
    for row, caption, height in zip(rows, captions, heights, strict=True):
        for column, (lines, picture) in enumerate(row):
            x = _GAP + column * width
            for index, line in enumerate(lines):
                draw.text((x, y + index * _LINE), line, fill=_INK, font=font)
            sheet.paste(picture, (x, y + caption))
        y += caption + height
    return sheet


def _zoomed(pixels: Pixels, zoom: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels.repeat(zoom, 0).repeat(zoom, 1)))


def _marked(pixels: Pixels, box: Box) -> Image.Image:
    """The whole picture, made to fit a cell, with a frame around the box."""
    height, width = pixels.shape[:2]
    scale = CELL_SIDE / max(height, width)
    if scale >= 1:
        scale = int(scale)
        picture = _zoomed(pixels, scale)
    else:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    left, top = int(box.x * scale), int(box.y * scale)
    right, bottom = (box.x + box.width) * scale, (box.y + box.height) * scale
    corner = max(left, math.ceil(right) - 1), max(top, math.ceil(bottom) - 1)
    for width, colour in zip((3, 2), _FRAME, strict=True):
        ImageDraw.Draw(picture).rectangle((left, top, *corner), outline=colour, width=width)
    return picture
