"""The search for a file size against exhaustive search, and its economy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from pliant.evaluation import codecs
from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.search import CLOSE, at_size

PIXELS = np.zeros((1, 1, 3), np.uint8)


class Meter:
    """A codec whose file has a given size at a quality, and what was asked of it."""

    def __init__(self, size_at: Callable[[float], float], search: tuple[float, ...] = ()) -> None:
        self.asked: list[float] = []
        self._size_at = size_at
        more = {"search": search} if search else {}
        self.codec = ImageCodec("x", "X", "1", (0.0,), self.encode, lambda _: PIXELS, **more)  # type: ignore[arg-type]

    def encode(self, pixels: Pixels, quality: float) -> bytes:
        self.asked.append(quality)
        return bytes(round(self._size_at(quality)))


def in_steps(quality: float) -> float:
    return 1000 * math.exp(round(quality) / 20)


def smooth(quality: float) -> float:
    return 1000 * math.exp((quality / 100) ** 2 * 4 + quality / 90)


@pytest.mark.parametrize("quality", [0, 1, 30, 50, 63, 99, 100])
def test_a_size_of_a_step_is_found(quality: int) -> None:
    meter = Meter(in_steps)
    found, data = at_size(meter.codec, PIXELS, round(in_steps(quality)))
    assert round(found) == quality
    assert len(data) == round(in_steps(quality))
    assert len(meter.asked) <= 9


def test_the_nearest_step_is_taken_on_both_sides() -> None:
    low, high = in_steps(40), in_steps(41)
    for part, nearest in ((0.2, low), (0.8, high)):
        _, data = at_size(Meter(in_steps).codec, PIXELS, round(low + part * (high - low)))
        assert len(data) == round(nearest)


@pytest.mark.parametrize("size", [1100, 5000, 33_000, 150_000])
def test_continuous_qualities_come_close(size: int) -> None:
    meter = Meter(smooth)
    _, data = at_size(meter.codec, PIXELS, size)
    assert len(data) == pytest.approx(size, rel=CLOSE)
    assert len(meter.asked) <= 9


def test_the_scale_of_qualities_is_the_codecs_own() -> None:
    search = tuple(0.02 * 1.02**step for step in range(351))
    meter = Meter(lambda bpp: bpp * 10_000, search)
    found, data = at_size(meter.codec, PIXELS, 7_777)
    assert len(data) == pytest.approx(7_777, rel=CLOSE)
    assert found == pytest.approx(0.7777, rel=CLOSE)
    assert all(search[0] <= quality <= search[-1] for quality in meter.asked)


@pytest.mark.parametrize("size,end", [(10, 0), (10**6, 100)])
def test_out_of_reach_gives_the_end(size: int, end: int) -> None:
    for size_at in (in_steps, smooth):
        meter = Meter(size_at)
        found, data = at_size(meter.codec, PIXELS, size)
        assert found == end
        assert len(data) == round(size_at(end))
        assert len(meter.asked) <= 4


def test_sizes_that_do_not_change_lead_to_the_end() -> None:
    for size, end in ((100, 0), (900, 100)):
        assert at_size(Meter(lambda _: 300).codec, PIXELS, size)[0] == end


def test_the_ends_are_left_alone() -> None:
    meter = Meter(smooth)
    at_size(meter.codec, PIXELS, 5000)
    assert not {0, 100} & set(meter.asked)


def test_jpeg_against_all_its_qualities(photo: Pixels) -> None:
    codec, pixels = codecs.find("jpeg-420"), photo[:96, :96]
    sizes = [len(codec.encode(pixels, quality)) for quality in range(101)]
    for size in (1000, 2345, 6000):
        _, data = at_size(codec, pixels, size)
        best = min(abs(other - size) for other in sizes)
        assert abs(len(data) - size) <= max(best, CLOSE * size)
