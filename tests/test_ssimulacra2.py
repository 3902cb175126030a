"""SSIMULACRA 2 against the scores of libjxl's own tool."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest

from pliant.errors import MissingError
from pliant.evaluation import ssimulacra2
from pliant.evaluation.pixels import Pixels, as_rgb

needs_package = pytest.mark.skipif(
    find_spec("ssimulacra2") is None, reason="the package ssimulacra2 is not installed"
)


def picture(height: int, width: int) -> Pixels:
    """Waves and chirps; formulas rather than random numbers, so that it is the same everywhere."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    red = 128 + 60 * np.sin(x / 7) * np.cos(y / 11) + 40 * np.sin(x * y / 500)
    green = 120 + 70 * np.cos((x + y) / 13) + 30 * np.sin(x / 3)
    blue = 110 + 50 * np.sin(y / 9) + 40 * np.cos(x * y / 700)
    return np.clip(np.rint(np.stack([red, green, blue], 2)), 0, 255).astype(np.uint8)


def stepped(pixels: Pixels) -> Pixels:
    return (pixels // 16 * 16 + 8).astype(np.uint8)


def blurred(pixels: Pixels) -> Pixels:
    shifts = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    total = sum(np.roll(pixels.astype(np.int64), shift, (0, 1)) for shift in shifts)
    return (np.asarray(total) // 9).astype(np.uint8)


def striped(pixels: Pixels) -> Pixels:
    stripes = np.where(np.arange(pixels.shape[1]) % 8 < 4, 3, -3)[None, :, None]
    return np.clip(pixels.astype(np.int64) + stripes, 0, 255).astype(np.uint8)


@needs_package
@pytest.mark.parametrize(
    "size,spoil,score",  # of `ssimulacra2` of libjxl 0.11.2
    [
        ((128, 160), stepped, 83.56006528),
        ((128, 160), blurred, 82.65918732),
        ((128, 160), striped, 73.26172751),
        ((203, 151), stepped, 83.70082996),
        ((203, 151), blurred, 70.44868750),
        ((203, 151), striped, 72.66311609),
        ((113, 300), blurred, 36.73846494),
    ],
)
def test_scores_of_the_reference_tool(
    size: tuple[int, int], spoil: Callable[[Pixels], Pixels], score: float
) -> None:
    original = picture(*size)
    assert ssimulacra2.score(original, spoil(original)) == pytest.approx(score, abs=0.005)


@needs_package
def test_equal_grey_and_small_pictures() -> None:
    original = picture(113, 120)
    assert ssimulacra2.score(original, original) == 100
    grey = original[..., 1]
    expected = ssimulacra2.score(as_rgb(grey), as_rgb(stepped(grey)))
    assert ssimulacra2.score(grey, stepped(grey)) == expected < 100
    with pytest.raises(ValueError, match="113"):
        ssimulacra2.score(original[:112], original[:112])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ssimulacra2", None)
    with pytest.raises(MissingError, match=r"pliant\[eval\]"):
        ssimulacra2.package()
