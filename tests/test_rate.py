"""Quality to rate parameter, and the search for a size or a PSNR on synthetic pictures."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import pytest

from pliant.errors import LimitError, UsageError
from pliant.rate import (
    CLOSE_PSNR,
    EVALUATIONS,
    Target,
    coarsest_reaching,
    largest_within,
    to_quality,
    to_rate,
)
from pliant.units import RATE_MAX

PIXELS = 768 * 512


class Counted:
    """A function of the rate parameter that counts its calls and refuses a second equal one."""

    def __init__(self, function: Callable[[int], float]) -> None:
        self.function = function
        self.tried: list[int] = []

    def __call__(self, rate: int) -> float:
        assert 0 <= rate <= RATE_MAX
        assert rate not in self.tried
        self.tried.append(rate)
        return self.function(rate)


def wobble(rate: int, seed: int) -> float:
    """In [-1, 1], the same at every call."""
    return math.sin((rate + 1) * (seed * 12.9898 + 78.233)) * math.cos(rate * 0.7 + seed)


def sizes(low: int, high: int, bend: float, noise: float, seed: int) -> Callable[[int], int]:
    """File size that falls from `high` to `low` bytes; the logarithm is bent and noisy."""

    def size(rate: int) -> int:
        part = (1 - rate / RATE_MAX) ** bend
        log = math.log(low) + part * math.log(high / low) + noise * wobble(rate, seed)
        return round(math.exp(log))

    return size


def test_quality_and_rate_parameter() -> None:
    assert (to_rate(100), to_rate(0)) == (0, RATE_MAX)
    rates = [to_rate(quality / 4) for quality in range(401)]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 401
    for rate in range(RATE_MAX + 1):
        assert to_rate(to_quality(rate)) == rate
    for wrong in (-0.01, 100.01, math.nan, math.inf):
        with pytest.raises(UsageError, match="quality"):
            to_rate(wrong)


def test_a_target_is_exactly_one() -> None:
    for target in (Target(50), Target(bpp=0.5), Target(size=1), Target(psnr=0), Target(quality=0)):
        target.check()
    with pytest.raises(UsageError, match="exactly one"):
        Target().check()
    with pytest.raises(UsageError, match="exactly one"):
        Target(50, size=1000).check()
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="target"):
            Target(bpp=wrong).check()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.0, 0.002, 0.008])
@pytest.mark.parametrize("bend", [0.6, 1.0, 1.7])
@pytest.mark.parametrize(("low", "high"), [(344, 117_376), (90, 9_000), (5_000, 900_000)])
def test_size_is_met_closely_and_never_exceeded(
    low: int, high: int, bend: float, noise: float, seed: int
) -> None:
    curve = [sizes(low, high, bend, noise, seed)(rate) for rate in range(RATE_MAX + 1)]
    for step in range(1, 10):
        budget = round(low * (high / low) ** (step / 10))
        size = Counted(curve.__getitem__)
        found = curve[largest_within(size, budget, PIXELS)]  # type: ignore[arg-type]
        assert found <= budget
        assert len(size.tried) <= EVALUATIONS <= 10
        reachable = max(s for s in curve if s <= budget)
        assert found >= 0.98 * reachable


def test_searches_take_few_tries() -> None:
    tries = []
    for seed in range(6):
        for step in range(1, 10):
            size = Counted(sizes(344, 117_376, 0.9 + seed / 20, 0.003, seed))
            budget = round(344 * (117_376 / 344) ** (step / 10))
            largest_within(size, budget, PIXELS)  # type: ignore[arg-type]
            tries.append(len(size.tried))
    assert sum(tries) / len(tries) <= 5


def test_a_budget_that_is_too_small_names_the_smallest_size() -> None:
    function = sizes(344, 117_376, 1, 0.004, 3)
    smallest = function(RATE_MAX)
    size = Counted(function)
    with pytest.raises(LimitError, match=rf"^{smallest - 1} .* smallest file has {smallest} bytes"):
        largest_within(size, smallest - 1, PIXELS)  # type: ignore[arg-type]
    assert len(size.tried) <= 4
    assert function(largest_within(function, smallest, PIXELS)) <= smallest
    for budget in (0, 1):
        with pytest.raises(LimitError, match=str(smallest)):
            largest_within(function, budget, PIXELS)


def test_a_budget_that_is_large_gives_the_finest() -> None:
    function = Counted(sizes(344, 117_376, 1, 0, 0))
    assert largest_within(function, 10**9, PIXELS) == 0  # type: ignore[arg-type]
    assert len(function.tried) <= 4


def test_sizes_that_hardly_depend_on_the_rate() -> None:
    """Tiny pictures: all files are about as long as the header."""
    assert largest_within(lambda rate: 31, 31, 1) == 0
    assert 36 <= largest_within(lambda rate: 40 if rate < 36 else 31, 39, 1) <= RATE_MAX
    with pytest.raises(LimitError, match="has 31 bytes"):
        largest_within(lambda rate: 31, 30, 1)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.04])
def test_psnr_is_reached_and_hardly_exceeded(noise: float) -> None:
    def psnr(rate: int) -> float:
        return 24 + 27 * (1 - rate / RATE_MAX) ** 1.3 + noise * wobble(rate, 5)

    for wanted in (24.5, 27.0, 30.25, 33.3, 40.0, 45.5, 50.5):
        counted = Counted(psnr)
        found = coarsest_reaching(counted, wanted)
        assert wanted <= psnr(found) <= wanted + CLOSE_PSNR + 0.03 + 2 * noise
        assert len(counted.tried) <= EVALUATIONS


def test_psnr_out_of_reach() -> None:
    def psnr(rate: int) -> float:
        return 51 - rate / 80

    with pytest.raises(LimitError, match=r"60 dB .* best is 51\.00 dB"):
        coarsest_reaching(psnr, 60)
    assert coarsest_reaching(psnr, 51) == 0
    assert coarsest_reaching(psnr, 0) == RATE_MAX


def test_rate_needs_only_the_standard_library() -> None:
    code = "import sys, pliant.rate; assert not {'numpy', 'torch', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
