"""Quality to rate parameter, and the search for a rate parameter that meets a target. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pliant.errors import LimitError, UsageError
from pliant.units import RATE_MAX

CLOSE_ENOUGH = 0.99  # a file this close below the wanted size ends the search


def to_rate(quality: float) -> int:
    """Rate parameter of a quality from 0 (smallest file) to 100 (best picture).

    Raises:
        UsageError: the quality is not in 0..100.
    """
    if not 0 <= quality <= 100:
        raise UsageError(f"quality must be from 0 to 100, not {quality}")
    return round(RATE_MAX * (1 - quality / 100))


def to_quality(rate: int) -> float:
    """Inverse of `to_rate`, rounded to two decimals."""
    return round(100 * (1 - rate / RATE_MAX), 2)


@dataclass(frozen=True)
class Target:
    """At most one of these; `size` in bytes and `bpp` in bits per pixel bound the file, `psnr` (dB) the picture."""

    quality: float | None = None
    bpp: float | None = None
    size: int | None = None
    psnr: float | None = None

    def check(self) -> None:
        """Raises UsageError unless exactly one target is given and makes sense."""
        given = [v for v in (self.quality, self.bpp, self.size, self.psnr) if v is not None]
        if len(given) != 1:
            raise UsageError("give exactly one of quality, bpp, size and psnr")
        if not given[0] >= 0 or math.isinf(given[0]):
            raise UsageError(f"a target cannot be {given[0]}")


def largest_within(size_at: Callable[[int], int], budget: int) -> int:
    """The finest rate parameter whose file has at most `budget` bytes, or one that comes within 1 % of it.

    File size falls with the rate parameter, but not strictly: every result has been measured. The search
    brackets the budget and then interpolates the logarithm of the size.

    Args:
        size_at: bytes of the file at a rate parameter; called once for each.

    Raises:
        LimitError: the smallest file is larger than the budget; the message names its size.
    """
    smallest = size_at(RATE_MAX)
    if smallest > budget:
        raise LimitError(f"{budget} bytes are too few for this picture: the smallest file has {smallest} bytes")
    over, over_size = 0, size_at(0)
    if over_size <= budget:
        return 0
    under, under_size = RATE_MAX, smallest
    turn = 0
    while under - over > 1 and under_size < CLOSE_ENOUGH * budget:
        aim = math.log(max(budget, 1) * (1 + CLOSE_ENOUGH) / 2)
        slope = math.log(over_size) - math.log(under_size)
        part = (math.log(over_size) - aim) / slope if slope > 0 and turn % 3 < 2 else 0.5
        middle = min(max(over + round(part * (under - over)), over + 1), under - 1)
        size = size_at(middle)
        if size <= budget:
            under, under_size = middle, size
        else:
            over, over_size = middle, size
        turn += 1
    return under


def coarsest_reaching(psnr_at: Callable[[int], float], wanted: float) -> int:
    """The coarsest rate parameter whose picture reaches `wanted` dB, by bisection.

    Raises:
        LimitError: the finest rate does not reach it; the message says what it reaches.
    """
    best = psnr_at(0)
    if best < wanted:
        raise LimitError(f"{wanted:g} dB cannot be reached for this picture: the best is {best:.2f} dB")
    fine, coarse = 0, RATE_MAX + 1
    while coarse - fine > 1:
        middle = (fine + coarse) // 2
        if psnr_at(middle) >= wanted:
            fine = middle
        else:
            coarse = middle
    return fine
