"""Parameters and work of the base models equal the published ones, to the last digit."""

from __future__ import annotations

import pytest

from pliant.models import registry, weights
from pliant.models.complexity import macs_per_pixel
from pliant.models.zoo import ZOO

# parameters, then thousands of multiply-accumulates per pixel of encoder and decoder
PUBLISHED_SIZES = {
    "ilc": (35_875_696, 204.28, 204.28),
    "ilc-teacher": (10_280_963, 160.70, 160.70),
    "msinn-8": (12_339_317, 588.99, 911.69),
    "msinn-12": (12_340_973, 588.99, 911.69),
    "bmshj2018-factorized-128": (2_998_147, 42.18, 42.18),
    "bmshj2018-factorized-192": (7_030_531, 93.70, 93.70),
    "bmshj2018-factorized-relu-128": (2_899_075, 36.80, 36.80),
    "bmshj2018-factorized-relu-192": (6_808_195, 81.60, 81.60),
    "bmshj2018-hyperprior-128": (5_075_843, 44.90, 43.54),
    "bmshj2018-hyperprior-192": (11_816_323, 100.27, 96.98),
    "mbt2018-mean-128": (7_028_003, 48.93, 47.56),
    "mbt2018-mean-192": (17_561_699, 111.91, 108.62),
    "bmshj2018-hyperprior-vbr": (11_816_677, 100.27, 96.98),
    "mbt2018-mean-vbr": (17_562_053, 111.91, 108.62),
    "mbt2018-vbr": (25_506_089, 142.92, 139.64),
    "mbt2018-192": (14_130_467, 110.35, 107.93),
    "mbt2018-320": (25_504_596, 142.92, 139.64),
    "cheng2020-anchor-128": (11_833_149, 174.72, 260.28),
    "cheng2020-anchor-192": (26_598_956, 392.41, 583.06),
    "cheng2020-attn-128": (13_183_293, 197.02, 282.59),
    "cheng2020-attn-192": (29_631_788, 442.59, 633.24),
}


def test_every_published_size_is_checked() -> None:
    assert {n for n, size in ZOO.items() if size.qualities} == PUBLISHED_SIZES.keys()
    assert ZOO.keys() < registry.MODELS.keys()


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_published_sizes(name: str) -> None:
    parameters, encoder, decoder = PUBLISHED_SIZES[name]
    model = registry.build(name)
    assert sum(p.numel() for p in model.parameters()) == parameters
    found = macs_per_pixel(model)
    assert found == pytest.approx((1000 * encoder, 1000 * decoder), abs=6)  # two digits are given
    assert not model.portable


def test_small_models_are_portable_where_they_are_exact() -> None:
    for name, size in ZOO.items():
        if not size.qualities:
            model = registry.build(name)
            assert model.portable == size.config["exact"]
            weights.check_bounds(model)
            assert max(macs_per_pixel(model)) < 25_000
