"""A model's transform over a picture of any size: in blocks, so that memory stays bounded.

A block is computed together with what the transform sees around it (its *reach*), so blocks leave
no seams: the result is that of the whole picture, up to float rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pliant import tiles
from pliant.layers import loops
from pliant.layers.exact import RateVector
from pliant.models.base import ImageModel
from pliant.tiles import Tile

Pixels = npt.NDArray[np.uint8]

BLOCK_LOG2 = 10  # of the side of a block, without its surroundings


def to_tensor(pixels: Pixels) -> Tensor:
    """uint8 (H, W, 1 or 3) to float32 (1, 3, H, W); grey is repeated."""
    planes = torch.from_numpy(np.require(pixels, None, ["C", "W"])).permute(2, 0, 1)[None]
    return planes.expand(1, 3, -1, -1).float()


def to_pixels(image: Tensor, height: int, width: int, channels: int) -> Pixels:
    """(1, 3, H, W) to uint8 (height, width, channels); grey is the mean of the three."""
    cropped = image[0, :, :height, :width]
    if channels == 1:
        cropped = cropped.mean(0, keepdim=True)
    if loops.compilable(cropped):
        from pliant.layers import fused_pixels  # takes a while

        pixels = np.empty((height, width, channels), np.uint8)
        loops.in_slices(fused_pixels.interleave, height, channels * width, cropped.numpy(), pixels)
        return pixels
    rounded = cropped.permute(1, 2, 0).round().clamp_(0, 255).to(torch.uint8)
    return rounded.contiguous().cpu().numpy()


def padded(n: int, multiple: int) -> int:
    """`n` pixels rounded up to the model's multiple."""
    return -(-n // multiple) * multiple


def block_side(model: ImageModel) -> int | None:
    """Pixels along a block with its surroundings, at most; None when that is the whole picture."""
    return None if model.reach is None else (1 << BLOCK_LOG2) + 2 * model.reach


def _plan(model: ImageModel, height: int, width: int) -> Iterator[tuple[Tile, Tile]]:
    """(block, block with its surroundings) of a padded picture, in pixels.

    A model without a known `reach` (pixels, a multiple of its own) sees everything.
    """
    reach = model.reach
    small = reach is None or height * width <= tiles.ONE_TILE_PIXELS
    for block in tiles.plan(height, width, 0 if small else BLOCK_LOG2):
        yield block, block if reach is None else block.grown(reach, height, width)


def analyse(model: ImageModel, pixels: Pixels, device: torch.device) -> list[Tensor]:
    """uint8 (H, W, 1 or 3) to the latents (1, C, h, w) of the padded picture, coarse first."""
    height, width = (padded(n, model.multiple) for n in pixels.shape[:2])
    whole: list[Tensor] = []
    for block, seen in _plan(model, height, width):
        # a slice that ends beyond the picture ends with it, and is then padded
        rows, columns = slice(seen.top, seen.bottom), slice(seen.left, seen.right)
        image = model.pad(to_tensor(pixels[rows, columns]).to(device))
        part = model.transform.analysis(image)
        if (seen.height, seen.width) == (height, width):
            return part
        whole = whole or tiles.canvas(part, seen, height, width, part[0].dtype)
        tiles.paste(whole, block, height, tiles.crop_all(part, block.within(seen), seen.height))
    return whole


def synthesise(
    model: ImageModel, symbols: Sequence[Tensor], rate: RateVector, shape: tuple[int, int, int]
) -> Pixels:
    """Symbols (1, C, h, w) of the padded picture to uint8 pixels of this shape (H, W, 1 or 3)."""
    height, width = (padded(n, model.multiple) for n in shape[:2])
    pixels = np.empty(shape, np.uint8)
    for block, seen in _plan(model, height, width):
        image = model.decoded(tiles.crop_all(symbols, seen, height), rate)
        image = block.within(seen).crop(image, seen.height)
        target = pixels[block.top : block.bottom, block.left : block.right]
        target[:] = to_pixels(image, *target.shape)
    return pixels
