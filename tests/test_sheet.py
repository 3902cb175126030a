"""Sheets show true pixels at the place that they name, whatever the shape of the picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFont

from pliant.errors import UsageError
from pliant.evaluation import sheet
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.sheet import Box, Version


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def positions(image: Image.Image, zoomed: Pixels) -> list[tuple[int, int]]:
    """Where a picture of noise is found, exactly, as (x, y)."""
    pixels = np.asarray(image)
    height, width = zoomed.shape[:2]
    upper, lower = (
        pixels[: 1 - height or None, : 1 - width or None],
        pixels[height - 1 :, width - 1 :],
    )
    starts = np.argwhere(((upper == zoomed[0, 0]) & (lower == zoomed[-1, -1])).all(2))
    return [
        (int(x), int(y))
        for y, x in starts
        if np.array_equal(pixels[y : y + height, x : x + width], zoomed)
    ]


def zoomed(pixels: Pixels, zoom: int) -> Pixels:
    return np.kron(pixels, np.ones((zoom, zoom, 1), np.uint8))


@pytest.mark.parametrize(
    "shape,zoom", [((32, 32), 12), ((300, 40), 3), ((40, 300), 3), ((1, 1), 384), ((3, 4000), 3)]
)
def test_crops_are_exact(shape: tuple[int, int], zoom: int) -> None:
    original, other = noise(*shape), noise(*shape, seed=1)
    box = sheet.most_different(original, [other])
    assert (box.height, box.width) == tuple(min(sheet.CROP_SIDE, side) for side in shape)
    image = sheet.draw(original, [Version(("a", "b"), other), Version(("c",), original)], box)
    assert len(positions(image, zoomed(box.crop(other), zoom))) == 1
    # The original, the version that equals it, and the whole picture if the crop is all of it.
    assert len(positions(image, zoomed(box.crop(original), zoom))) >= 2


def test_a_crop_that_is_given_is_the_one_shown() -> None:
    original, other = noise(50, 60), noise(50, 60, seed=1)
    image = sheet.draw(original, [Version(("a",), other)], Box(20, 10, 30, 5))
    assert len(positions(image, zoomed(other[10:15, 20:50], 12))) == 1
    large = sheet.draw(noise(500, 400), [Version(("a",), noise(500, 400, 1))], Box(0, 0, 400, 500))
    assert len(positions(large, noise(500, 400, 1))) == 1


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 46, 5, 5), (56, 0, 5, 5), (0, 0, 0, 5)])
def test_crops_outside_are_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="60 × 50"):
        Box(*box).check(noise(50, 60))


def test_the_largest_difference_is_found() -> None:
    original = noise(90, 100)
    others = [original.copy(), original.copy()]
    others[0][40:60, 70:90] ^= 64
    others[1][10:14, 10:14] ^= 64
    assert sheet.most_different(original, others, side=20) == Box(70, 40, 20, 20)


def test_highest_agrees_with_brute_force() -> None:
    values = np.random.default_rng(5).normal(size=(17, 23))
    sums = {
        (x, y): values[y : y + 6, x : x + 6].sum() for y in range(17 - 5) for x in range(23 - 5)
    }
    x, y = max(sums, key=lambda at: sums[at])
    assert sheet.highest(values, 6) == Box(x, y, 6, 6)
    x = max(range(23 - 19), key=lambda x: values[:, x : x + 20].sum())
    assert sheet.highest(values, 20) == Box(x, 0, 20, 17)


def test_columns_are_as_wide_as_the_longest_line() -> None:
    pixels, line = noise(20, 4), "A codec with very many settings " * 3
    image = sheet.draw(pixels, [Version((line,), pixels)] * 4, Box(0, 0, 4, 4), columns=3)
    assert image.width > 3 * ImageFont.load_default(14).getlength(line)


def test_the_whole_picture_is_marked() -> None:
    grey = np.full((100, 100, 3), 128, np.uint8)
    image = np.asarray(sheet.draw(grey, [], Box(10, 20, 30, 40)))
    y, x = np.nonzero((image == (255, 0, 0)).all(2))
    assert x.max() - x.min() + 1 == 3 * 30
    assert y.max() - y.min() + 1 == 3 * 40
    assert x.min() == 10 + 3 * 10


def test_stacked_sheets_keep_their_pixels() -> None:
    sheets = [Image.fromarray(noise(5, width, width)) for width in (7, 4)]
    stacked = np.asarray(sheet.stack(sheets))
    assert stacked.shape == (10, 7, 3)
    assert np.array_equal(stacked[5:, :4], np.asarray(sheets[1]))
