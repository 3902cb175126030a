"""Learnt gains: interpolation, what the decoder multiplies by, what is trained."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from pliant.layers.exact import RateVector
from pliant.layers.gain_units import (
    AsymmetricGains,
    GainUnit,
    QuantisationErrorAwareGains,
    TheisGains,
    between_levels,
)
from pliant.layers.variable import ScalarGains, gain_of, level_gains, rate_of
from pliant.units import RATE_MAX

LEVELS = [rate_of(gain) for gain in level_gains()]
SIDE, CHANNELS = 3, 5


def vector(*rates: float) -> RateVector:
    return RateVector(torch.tensor(rates, dtype=torch.float64))


def gains_of(method: str) -> ScalarGains:
    made: dict[str, ScalarGains] = {
        "theis": TheisGains(CHANNELS),
        "qvrf": QuantisationErrorAwareGains(),
        "cui": AsymmetricGains(SIDE, CHANNELS, exact=False),
        "exact cui": AsymmetricGains(SIDE, CHANNELS, exact=True),
    }
    return made[method]


METHODS = ["theis", "qvrf", "cui", "exact cui"]
every_method = pytest.mark.parametrize("method", METHODS)


@torch.no_grad()
def randomised(module: torch.nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.add_(torch.randn_like(parameter))


def test_places_between_levels() -> None:
    level, fraction = between_levels(vector(*LEVELS))
    assert (level + fraction).tolist() == pytest.approx(range(8))
    middle = [(a + b) / 2 for a, b in itertools.pairwise(LEVELS)]
    level, fraction = between_levels(vector(*middle, RATE_MAX + 1))
    assert level.tolist() == [*range(7), 0]
    assert fraction.tolist() == pytest.approx([0.5] * 7 + [0])


def test_interpolation_is_exponential() -> None:
    """m_s at the levels, and the geometric mean of two half-way, in gains and inverse gains."""
    gains = AsymmetricGains(SIDE, CHANNELS, exact=False)
    randomised(gains)
    for unit in (gains.main, gains.inverse, gains.side, gains.side_inverse):
        assert isinstance(unit, GainUnit)
        with torch.no_grad():
            levels = unit(vector(*LEVELS))[:, :, 0, 0]
            middle = unit(vector((LEVELS[2] + LEVELS[3]) / 2))[0, :, 0, 0]
            quarter = unit(vector(0.75 * LEVELS[6] + 0.25 * LEVELS[7]))[0, :, 0, 0]
        assert torch.allclose(levels, torch.exp2(unit.logs), rtol=1e-5)
        assert torch.allclose(middle, (levels[2] * levels[3]).sqrt(), rtol=1e-5)
        assert torch.allclose(quarter, levels[6] ** 0.75 * levels[7] ** 0.25, rtol=1e-5)


@every_method
def test_gains_start_at_those_of_the_rate_parameter(method: str) -> None:
    gains, rates = gains_of(method), vector(*LEVELS, 77, 1000)
    expected = gain_of(rates.rate).float()[:, None, None, None]
    with torch.no_grad():
        assert torch.allclose(gains.gain(rates).expand(-1, CHANNELS, -1, -1), expected, rtol=1e-5)
        for inner, outer in zip(gains.steps(rates), gains.decoder_steps(rates), strict=True):
            assert torch.allclose(inner, outer.expand_as(inner), rtol=1e-5)
        assert torch.allclose(gains.steps(rates)[0], torch.ones(()))


def test_the_decoder_of_theis_has_the_reciprocals() -> None:
    gains, rates = TheisGains(CHANNELS), vector(0, 900)
    randomised(gains)
    latent = torch.randn(2, CHANNELS, 2, 2)
    factor = gains.gain(rates)
    assert factor.std(1).min() > 0
    decoded = gains.dequantise([latent, latent * factor], rates)[1]
    assert torch.allclose(decoded, latent, rtol=1e-5)
    assert decoded.requires_grad


def test_the_inverse_gains_of_cui_are_independent() -> None:
    gains, rates = AsymmetricGains(SIDE, CHANNELS, exact=False), vector(500)
    randomised(gains)
    for inner, outer in zip(gains.steps(rates), gains.decoder_steps(rates), strict=True):
        assert bool((outer / inner - 1).abs().max() > 0.1)
    assert [p.shape[1] for p in gains.parameters()] == [CHANNELS, CHANNELS, SIDE, SIDE]


def gradient(value: Tensor, gains: torch.nn.Module) -> float:
    found = torch.autograd.grad(value.sum(), list(gains.parameters()), allow_unused=True)
    return sum(float(g.abs().sum()) for g in found if g is not None)


def test_qvrf_freezes_its_anchor_and_the_inverse() -> None:
    gains = QuantisationErrorAwareGains()
    randomised(gains)
    assert [tuple(p.shape) for p in gains.parameters()] == [(7, 1)]
    finest = gains.gain(vector(0))
    assert float(finest.detach()) == 1
    assert gradient(finest, gains) == 0
    rates = vector(900)
    assert gradient(gains.gain(rates), gains) > 0
    inner, outer = gains.steps(rates)[1], gains.decoder_steps(rates)[1]
    assert torch.equal(inner, outer)
    assert inner.requires_grad
    assert not outer.requires_grad


def test_inverse_gains_of_an_exact_side_latent_are_integers() -> None:
    gains = AsymmetricGains(SIDE, CHANNELS, exact=True)
    randomised(gains)
    symbols = torch.randint(-40, 40, (3, SIDE, 4, 4)).float()
    with torch.no_grad():
        shown = gains.shown(symbols, vector(0, 777, 2047))
    assert torch.equal(shown * 256, (shown * 256).round())
    assert not torch.equal(shown, symbols)
    steps = gains.decoder_steps(vector(0, 777, 2047))[0].detach()
    assert torch.equal(shown, symbols * steps)
