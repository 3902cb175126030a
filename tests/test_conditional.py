"""Conditional convolutions: their formula, and which level serves which rate."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from pliant.layers.conditional import LevelModulation, nearest_level, rates_near
from pliant.layers.convolutions import down, up
from pliant.layers.variable import gain_of, level_gains, level_rates
from pliant.units import RATE_MAX


def test_outputs_equal_the_formula() -> None:
    """softplus(u) * (W * x) + v, with the u and v of the picture's level."""
    torch.manual_seed(0)
    x, level = torch.randn(2, 4, 8, 8), torch.tensor([5, 1])
    for conv in (down(4, 3), up(4, 3)):
        modulation = LevelModulation(3)
        with torch.no_grad():
            for parameter in modulation.parameters():
                parameter.add_(torch.randn_like(parameter))
            plain = conv(x)
            found = modulation(plain, F.one_hot(level, 8).float())
        for b, number in enumerate(level.tolist()):
            for c in range(3):
                u, v = modulation.scale[number, c], modulation.shift[number, c]
                expected = torch.log1p(torch.exp(u)) * plain[b, c] + v
                assert torch.allclose(found[b, c], expected, atol=1e-5)


def test_it_starts_as_the_identity() -> None:
    x = torch.randn(8, 3, 2, 2)
    assert torch.allclose(LevelModulation(3)(x, torch.eye(8)), x, atol=1e-6)


def test_every_rate_has_its_nearest_level() -> None:
    assert torch.equal(nearest_level(torch.tensor(level_rates())), torch.eye(8))
    near = [rates_near(level) for level in range(8)]
    assert torch.equal(torch.cat(near).sort().values, torch.arange(RATE_MAX + 1))
    for rates, gain in zip(near, level_gains(), strict=True):
        bins = gain / gain_of(rates)
        assert 0.5 < float(bins.min()) <= 1.001
        assert 0.999 <= float(bins.max()) < 2
        assert bool((bins.diff() > 0).all())  # coarser bins for coarser rates
