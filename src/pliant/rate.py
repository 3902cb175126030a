"""Quality to rate parameter, and the search for a rate parameter that meets a target.

Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pliant.errors import LimitError, UsageError
from pliant.units import RATE_MAX

EVALUATIONS = 10  # a search tries at most so many rate parameters
CLOSE_SIZE = 0.99  # a file this close below the wanted size ends the search
CLOSE_PSNR = 0.02  # dB above the wanted one that end the search
BEST_QUALITY = 100.0  # nothing is lost, if the model has a lossless one beside it

# Where a search starts, from typical photos: it changes how many tries it takes, not what it finds.
_TYPICAL_BPP = 0.6  # at half of RATE_MAX
_SIZE_SLOPE = 1 / 350  # fall of log(size) per unit of the rate parameter
_PSNR_SLOPE = 1 / 70  # fall of dB per unit of the rate parameter
_TYPICAL_PSNR = 32.0  # at half of RATE_MAX


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
    """What a file shall meet, one of these.

    Attributes:
        quality: 0..100. bpp: most bits of the file per pixel. size: most bytes of the file.
        psnr: least dB of the picture.
    """

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

    def budget(self, pixels: int) -> int | None:
        """Most bytes of the file of a picture; None where quality or PSNR say what is wanted."""
        return int(self.bpp * pixels / 8) if self.bpp is not None else self.size


def largest_within(size_at: Callable[[int], int], budget: int, pixels: int) -> int:
    """The rate parameter of a file of at most `budget` bytes, within 1 % of it where one is.

    File size falls with the rate parameter, but not strictly: the result has been measured.

    Args:
        size_at: bytes of the file at a rate parameter.
        pixels: of the picture, for a first guess.

    Raises:
        LimitError: the smallest file is larger than the budget; the message names its size.
    """
    tried: dict[int, int] = {}

    def log_size(rate: int) -> float:
        tried[rate] = size_at(rate)
        return math.log(tried[rate])

    wanted = math.log(max(budget, 1))
    start = RATE_MAX / 2 - (math.log(8 * max(budget, 1) / pixels / _TYPICAL_BPP)) / _SIZE_SLOPE
    # Aims at the middle of the sizes that end the search.
    close = math.log(CLOSE_SIZE)
    _close_in(log_size, (wanted + close, wanted), start, _SIZE_SLOPE)
    fitting = {rate: size for rate, size in tried.items() if size <= budget}
    if not fitting:
        raise LimitError(
            f"{budget} bytes are too few for this picture:"
            f" the smallest file has {tried[RATE_MAX]} bytes"
        )
    return max(fitting, key=lambda rate: (fitting[rate], -rate))


def coarsest_reaching(psnr_at: Callable[[int], float], wanted: float) -> int:
    """The rate parameter of a picture of at least `wanted` dB, 0.02 dB more at most where one is.

    Args:
        psnr_at: dB of the picture at a rate parameter.

    Raises:
        LimitError: the finest rate does not reach it; the message says what it reaches.
    """
    tried: dict[int, float] = {}

    def psnr(rate: int) -> float:
        tried[rate] = psnr_at(rate)
        return tried[rate]

    start = RATE_MAX / 2 - (wanted - _TYPICAL_PSNR) / _PSNR_SLOPE
    _close_in(psnr, (wanted, wanted + CLOSE_PSNR), start, _PSNR_SLOPE)
    reaching = [rate for rate, found in tried.items() if found >= wanted]
    if not reaching:
        raise LimitError(
            f"{wanted:g} dB cannot be reached for this picture: the best is {tried[0]:.2f} dB"
        )
    return max(reaching)


def _close_in(
    value_at: Callable[[int], float],
    goal: tuple[float, float],
    start: float,
    slope: float,
) -> None:
    """Tries rate parameters until a value, falling with them, lies within the goal.

    Brackets the goal from the start by the typical slope, then by false position, every third time
    by bisection. An end of the range has been tried when no value lies on its side of the goal.

    Args:
        goal: lowest and highest value that end the search.
    """
    low, high = goal
    aim = (low + high) / 2
    fine, coarse = -1, RATE_MAX + 1  # beyond the ends, nothing is known
    values: dict[int, float] = {}
    rate = min(max(round(start), 0), RATE_MAX)
    for turn in range(1, EVALUATIONS + 1):
        value = values[rate] = value_at(rate)
        if low <= value <= high:
            return
        if value > high:
            fine = rate
        else:
            coarse = rate
        if coarse - fine <= 1:
            return
        if fine in values and coarse in values:
            fall = values[fine] - values[coarse]
            part = (values[fine] - aim) / fall if turn % 3 else 0.5
            following = fine + part * (coarse - fine)
        elif turn >= 3:  # the typical slope leads nowhere: to the end
            following = RATE_MAX if fine in values else 0
        else:
            following = rate + turn * (value - aim) / slope
        rate = min(max(round(following), fine + 1), coarse - 1)
