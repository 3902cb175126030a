"""Masses of the published priors, and tables that are listed by number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pliant.entropy import rans
from pliant.entropy.families import (
    GAUSSIANS,
    SCALE_RATIO,
    folded,
    gaussian_masses,
    gaussian_scale,
)
from pliant.entropy.tables import TOTAL, Tables


def test_the_scale_table() -> None:
    scales = gaussian_scale(np.arange(GAUSSIANS))
    assert scales[[0, 1, 63]] == pytest.approx([0.11, 0.124404, 256], rel=1e-5)
    assert pytest.approx(1.130946, rel=1e-6) == SCALE_RATIO


@pytest.mark.parametrize("index", [0, 10, 19, 30, 63])
def test_masses_of_a_gaussian(index: int) -> None:
    scale, mass = float(gaussian_scale(index)), gaussian_masses()[index]
    assert len(mass) % 2 == 0
    assert mass.sum() == pytest.approx(1)
    for zigzag in range(min(5, len(mass) - 1)):
        symbol = (zigzag >> 1) ^ -(zigzag & 1)
        low, high = ((symbol + h) / scale / math.sqrt(2) for h in (-0.5, 0.5))
        assert mass[zigzag] == pytest.approx(0.5 * (math.erf(high) - math.erf(low)), abs=1e-12)
    radius = len(mass) // 2 - 1
    edge = (radius + 0.5) / scale / math.sqrt(2)
    assert mass[-1] == pytest.approx(math.erfc(edge), abs=1e-12)


def test_folding_sends_rare_ends_to_the_escape() -> None:
    mass = np.array([1e-7, 0.2, 0.5, 0.3 - 3e-7, 1e-7])
    assert folded(mass, 1e-7) == pytest.approx([0.5, 0.2, 0.3 - 3e-7, 3e-7])
    gap = folded(np.array([0.5, 0.0, 0.5]), 0.0)
    assert gap[0] * TOTAL == pytest.approx(3)  # the coder needs a centre


def test_listed_tables_are_addressed_by_number() -> None:
    rng = np.random.default_rng(0)
    masses = [np.append(rng.random(2 * (k % 5) + 3), 1e-3) for k in range(300)]
    tables = Tables.listed(masses)
    again = Tables.from_arrays(tables.to_arrays())
    assert again.scales == 19
    numbers = rng.integers(0, 300, 2000)
    index, mean = (numbers // 16).astype(np.uint8), (numbers % 16 - 8).astype(np.int16)
    symbols = rng.integers(-9, 10, 2000).astype(np.int32)
    data = rans.encode(symbols, index, mean, again)
    assert np.array_equal(rans.Decoder(data, again).read(index, mean), symbols)
    number, few = 7, again.bits(np.array([0]), np.array([7 // 16]), np.array([7 % 16 - 8]))
    expected = -np.log2(masses[number][0] / masses[number].sum())
    assert few[0] == pytest.approx(expected, abs=1e-3)


def test_coded_gaussians_cost_their_entropy() -> None:
    tables = Tables.listed(gaussian_masses())
    rng = np.random.default_rng(1)
    for number in (4, 20, 40, 60):
        scale = float(gaussian_scale(number))
        symbols = np.rint(rng.normal(0, scale, 20000)).astype(np.int32)
        index = np.full(20000, number // 16, np.uint8)
        mean = np.full(20000, number % 16 - 8, np.int16)
        low, high = ((symbols + h) / scale / math.sqrt(2) for h in (-0.5, 0.5))
        erf = np.vectorize(math.erf)
        ideal = -np.log2(0.5 * (erf(high) - erf(low))).sum()
        assert 8 * len(rans.encode(symbols, index, mean, tables)) == pytest.approx(
            ideal, rel=2e-3, abs=64
        )
