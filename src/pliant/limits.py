"""Refuses pictures that are too large, from the header alone and before weights are loaded.

A file of thirty bytes may declare a picture of 2**62 pixels. Three predictions guard against it:
pixels, memory and arithmetic. All follow from the header; nothing is allocated. They are made for
the default model; once it is known which one a file needs, its own `Demand` is checked again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from pliant.errors import LimitError, UsageError
from pliant.header import Header
from pliant.units import ONE_TILE_PIXELS

DEFAULT_MAX_PIXELS: Final = 16384**2
DEFAULT_MAX_MEMORY: Final = 8 * 2**30
WORK_MARGIN: Final = 4
"""The work limit is this many times the work of a square image with the most pixels."""

BYTES_PER_PIXEL: Final = 190
"""Memory of transform and prior per pixel of one tile or block: 146 measured, times 1.3."""
IMAGE_BYTES_PER_PIXEL: Final = 14
"""Memory per pixel of the whole image: symbols 6, colour 3, alpha 1, measured, times 1.3."""
BLOCK_SIDE: Final = 1408
"""Side of a block of the transform with all that it sees around it, in pixels."""
MACS_PER_PIXEL: Final = 25_000
"""Most multiply-accumulates of the decoder per padded pixel; a test holds light models to it."""
TILE_MACS: Final = 2_500_000_000
"""What every further tile takes beside its pixels: some 40 ms of a core in calls, measured."""
ALIGNMENT: Final = 64
"""Images are padded to a multiple of this many pixels in both directions."""

_LARGEST_COUNT: Final = 10**18
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


@dataclass(frozen=True)
class Demand:
    """What decoding takes with one model; the default model's, where nothing else is said.

    macs_per_pixel: multiply-accumulates per padded pixel. bytes_per_pixel: memory per pixel that is
    worked on at a time, a tile or a block of the transform. block_side: of such a block, in pixels;
    None when the transform must see the whole picture.
    """

    macs_per_pixel: float = MACS_PER_PIXEL
    bytes_per_pixel: float = BYTES_PER_PIXEL
    block_side: int | None = BLOCK_SIDE


DEFAULT_DEMAND: Final = Demand()


def check_limits(
    header: Header, limits: Limits | None = None, demand: Demand = DEFAULT_DEMAND
) -> None:
    """Raise LimitError with one sentence when a picture is larger than the limits allow."""
    limits = limits if limits is not None else Limits.from_environment()
    check_pixels(header.width, header.height, limits)
    memory, work = predict_memory(header, demand), predict_work(header, demand)
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


def predict_memory(header: Header, demand: Demand = DEFAULT_DEMAND) -> float:
    """Return the bytes that decoding takes at most, within a factor of about two.

    The program itself (interpreter, torch, weights) takes some 400 MiB more.
    """
    width, height = _padded(header.width), _padded(header.height)
    whole = width * height
    tile = _square(1 << header.tile_log2, width, height) if header.tile_log2 else whole
    block = whole
    if demand.block_side is not None and whole > ONE_TILE_PIXELS:
        block = _square(demand.block_side, width, height)
    return demand.bytes_per_pixel * max(tile, block) + IMAGE_BYTES_PER_PIXEL * whole


def predict_work(header: Header, demand: Demand = DEFAULT_DEMAND) -> float:
    """Return the multiply-accumulates that decoding takes, calls for further tiles included."""
    pixels = _padded(header.width) * _padded(header.height)
    return demand.macs_per_pixel * pixels + TILE_MACS * (header.tile_count - 1)


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
    if not 1 <= count <= _LARGEST_COUNT:
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


def _square(side: int, width: int, height: int) -> int:
    """Pixels of the largest part of a picture within a square."""
    return min(side, width) * min(side, height)


def _padded(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT
