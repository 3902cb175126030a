"""Refuses pictures that are too large, from the header alone and before weights are loaded.

A file of thirty bytes may declare a picture of 2**62 pixels. Three predictions guard against it:
pixels, memory and arithmetic. All are exact integers from the header; nothing is allocated.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from pliant.errors import LimitError, UsageError
from pliant.header import Header

DEFAULT_MAX_PIXELS: Final = 16384**2
DEFAULT_MAX_MEMORY: Final = 8 * 2**30
WORK_MARGIN: Final = 4
"""The work limit is this many times the work of a square image with the most pixels."""

TILE_BYTES_PER_PIXEL: Final = 190
"""Memory of transform and prior per pixel of one tile or block: 146 measured, times 1.3."""
IMAGE_BYTES_PER_PIXEL: Final = 14
"""Memory per pixel of the whole image: symbols 6, colour 3, alpha 1, measured, times 1.3."""
BLOCK_SIDE: Final = 1280
"""The transform works on blocks of at most this many pixels squared where tiles are smaller."""
MACS_PER_PIXEL: Final = 25_000
"""Most multiply-accumulates of an exact model's decoder per padded pixel; a test holds it to them.

Models of real arithmetic may need more: they are counted, once it is known which one is meant.
"""
ALIGNMENT: Final = 64
"""Images are padded to a multiple of this many pixels in both directions."""

_SUFFIXES: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


@dataclass(frozen=True)
class Limits:
    """The most that may be decoded: pixels, bytes of memory, multiply-accumulates."""

    pixels: int = DEFAULT_MAX_PIXELS
    memory: int = DEFAULT_MAX_MEMORY
    work: int = WORK_MARGIN * MACS_PER_PIXEL * DEFAULT_MAX_PIXELS

    @classmethod
    def from_environment(cls, max_pixels: int | None = None) -> Limits:
        """Return the limits in force: the argument, else the environment, else the defaults.

        Reads PLIANT_MAX_PIXELS and PLIANT_MAX_MEMORY (numbers such as 500M); the work limit
        follows the pixel limit. Raises UsageError when a variable is not such a number.
        """
        if max_pixels is None:
            max_pixels = _variable("PLIANT_MAX_PIXELS", DEFAULT_MAX_PIXELS)
        memory = _variable("PLIANT_MAX_MEMORY", DEFAULT_MAX_MEMORY)
        # however few pixels, one block of the alignment must be allowed
        work = WORK_MARGIN * MACS_PER_PIXEL * max(max_pixels, ALIGNMENT**2)
        return cls(max_pixels, memory, work)


def check_limits(
    header: Header, limits: Limits | None = None, macs_per_pixel: float = MACS_PER_PIXEL
) -> None:
    """Raise LimitError with one sentence when a picture is larger than the limits allow.

    macs_per_pixel: multiply-accumulates that the model decodes a padded pixel with.
    """
    limits = limits if limits is not None else Limits.from_environment()
    check_pixels(header.width, header.height, limits)
    memory, work = predict_memory(header), predict_work(header, macs_per_pixel)
    if memory > limits.memory:
        raise LimitError(
            f"an image of {header.width} by {header.height} pixels in tiles of this size needs"
            f" about {memory / 2**20:.0f} MiB of memory; the limit is"
            f" {limits.memory / 2**20:.0f} MiB (set PLIANT_MAX_MEMORY to change it)"
        )
    if work > limits.work:
        raise LimitError(
            f"an image of {header.width} by {header.height} pixels needs about {work / 1e12:.1f}"
            f" million million operations; the limit is {limits.work / 1e12:.1f}"
            " (raise it with --max-pixels or PLIANT_MAX_PIXELS)"
        )


def check_pixels(width: int, height: int, limits: Limits | None = None) -> None:
    """Raise LimitError when width times height is above the pixel limit."""
    limits = limits if limits is not None else Limits.from_environment()
    if width * height > limits.pixels:
        raise LimitError(
            f"an image of {width} by {height} pixels is above the limit of {limits.pixels} pixels"
            " (raise it with --max-pixels or PLIANT_MAX_PIXELS)"
        )


def predict_memory(header: Header) -> int:
    """Return the bytes that decoding takes at most, within a factor of about two.

    The program itself (interpreter, torch, weights) takes some 400 MiB more.
    """
    tile = 1 << header.tile_log2 if header.tile_log2 else max(header.width, header.height)
    side = max(tile, BLOCK_SIDE)
    width, height = _padded(header.width), _padded(header.height)
    at_once = min(side, width) * min(side, height)
    return TILE_BYTES_PER_PIXEL * at_once + IMAGE_BYTES_PER_PIXEL * width * height


def predict_work(header: Header, macs_per_pixel: float = MACS_PER_PIXEL) -> float:
    """Return the multiply-accumulates that decoding takes."""
    return macs_per_pixel * _padded(header.width) * _padded(header.height)


def parse_count(text: str) -> int:
    """Return the whole number that a text such as ``120k``, ``1.5M`` or ``40000`` means.

    Suffixes are powers of 1000. Raises UsageError when the text is not a number above zero.
    """
    suffix = text[-1:].lower() if text[-1:].isalpha() else ""
    number = text[: len(text) - len(suffix)]
    try:
        count = int(float(number) * _SUFFIXES[suffix]) if number.isascii() else 0
    except (ValueError, OverflowError, KeyError):
        count = 0
    if count < 1:
        raise UsageError(f"{text!r} is not a number such as 40000, 120k or 1.5M")
    return count


def _variable(name: str, default: int) -> int:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        return parse_count(text)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def _padded(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT
