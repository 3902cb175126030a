"""The file of a codec at a wanted size: a search over its qualities."""

from __future__ import annotations

import math
from typing import NamedTuple

from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.metrics import Pixels

CLOSE = 0.005  # a file this close to the wanted size, relatively, ends the search
TRIES = 14


class _Tried(NamedTuple):
    """A place in the codec's list of qualities, and log(size / wanted) of its file."""

    place: float
    excess: float
    data: bytes


def at_size(codec: ImageCodec, pixels: Pixels, size: int) -> tuple[float, bytes]:
    """The quality whose file comes nearest to `size` bytes, and that file.

    Searches `codec.search`, then between two neighbours of it, by false position on the logarithm
    of the size with a bisection now and then. The ends are tried only if nothing else is left:
    there many codecs are slow.
    """
    below = above = None
    best: tuple[float, float, bytes] | None = None
    place: float | None = (len(codec.search) - 1) // 2
    for turn in range(1, TRIES + 1):
        assert place is not None
        quality = _quality(codec, place)
        data = codec.encode(pixels, quality)
        tried = _Tried(place, math.log(len(data) / size), data)
        if best is None or abs(tried.excess) <= best[0]:
            best = abs(tried.excess), quality, data
        if best[0] <= CLOSE or _between_steps(tried, below, above):
            break
        if tried.excess < 0:
            below = tried
        else:
            above = tried
        place = _next(below, above, len(codec.search) - 1, turn)
        if place is None:
            break
    assert best is not None
    return best[1:]


def _quality(codec: ImageCodec, place: float) -> float:
    """The quality at a place in the list, interpolated between two entries."""
    index = min(int(place), len(codec.search) - 1)
    part = place - index
    quality = codec.search[index]
    return quality if part == 0 else quality + part * (codec.search[index + 1] - quality)


def _between_steps(tried: _Tried, below: _Tried | None, above: _Tried | None) -> bool:
    """Whether the codec rounds qualities: between neighbours it wrote one's file once more."""
    if below is None or above is None or above.place - below.place > 1:
        return False
    return tried.data in (below.data, above.data)


def _next(below: _Tried | None, above: _Tried | None, last: int, turn: int) -> float | None:
    """Where to try next; None when the list ends before the wanted size."""
    if below is None or above is None:
        known = below or above
        assert known is not None
        end = last if above is None else 0
        if known.place == end:
            return None
        middle = (known.place + end) / 2
        return end if turn > 2 else (math.ceil(middle) if above is None else math.floor(middle))
    width = above.place - below.place
    part = below.excess / (below.excess - above.excess) if turn % 3 else 0.5
    if width > 1:
        return min(max(round(below.place + part * width), below.place + 1), above.place - 1)
    return below.place + min(max(part, 0.1), 0.9) * width
