"""Learnt densities: what they are made of, their quantiles, their tables, and what they learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pliant.entropy.tables import Tables
from pliant.layers.density import Density


def shaped(channels: int = 5, seed: int = 0) -> Density:
    torch.manual_seed(seed)
    density = Density(channels)
    with torch.no_grad():
        for parameter in (*density.matrices, *density.biases, *density.factors):
            parameter.add_(torch.randn_like(parameter) * 0.4)
    density.settle()
    return density


def test_parameters_per_channel() -> None:
    assert sum(p.numel() for p in Density(7).parameters()) == 7 * (58 + 3)


def test_an_untrained_density_is_about_as_wide_as_its_start() -> None:
    density = Density(3)
    x = torch.tensor([-1.0, 1.0]).expand(3, 1, 2)
    slope = density.logits(x).diff(dim=2) / 2
    assert torch.allclose(slope, torch.full((3, 1, 1), 0.1), rtol=1e-4)  # 1 / scale


def test_cumulative_distributions_rise_and_masses_add_up() -> None:
    density = shaped()
    x = torch.arange(-3000.0, 3001.0).expand(5, 1, -1)
    assert bool((density.logits(x).diff(dim=2) > 0).all())
    assert torch.allclose(density.mass(x).sum(2), torch.ones(5, 1), atol=1e-4)


def test_bits_are_those_of_the_masses() -> None:
    density = shaped().requires_grad_(False)
    values = torch.randn(2, 5, 3, 4) * 5
    expected = -density.mass(values.transpose(0, 1).reshape(5, 1, -1)).log2()
    found = density.bits(values).transpose(0, 1).reshape(5, 1, -1)
    assert torch.allclose(found, expected, rtol=1e-4)
    assert float(density.bits(torch.full((1, 5, 1, 1), 1e6)).max()) <= 29.9  # likelihood 1e-9


def test_quantiles() -> None:
    density = shaped()
    logits = density.logits(density.quantiles.detach())
    expected = torch.tensor([-21.4164, 0.0, 21.4164]).expand_as(logits)
    assert torch.allclose(logits, expected, atol=1e-3)
    assert torch.equal(density.medians.flatten(), density.quantiles[:, 0, 1].detach())


def test_tables_hold_the_masses_around_the_median() -> None:
    density = shaped()
    tables = Tables.listed(density.masses())
    symbols = np.arange(-3, 4)
    for channel in range(5):
        index, mean = np.full(7, channel // 16), np.full(7, channel % 16 - 8)
        coded = tables.bits(symbols, index, mean)
        values = density.medians[0, channel] + torch.from_numpy(symbols)
        grid = torch.zeros(1, 5, 1, 7)
        grid[0, channel] = values
        ideal = density.bits(grid)[0, channel, 0].detach().numpy()
        assert coded == pytest.approx(ideal, abs=0.02)


def test_every_channel_may_have_its_own_step() -> None:
    density, steps = shaped(), torch.tensor([0.5, 1.0, 2.0, 0.7, 3.0])
    found = density.masses(steps)
    for channel, step in enumerate(steps.tolist()):
        alone = density.masses(step)[channel]
        middle, own = len(found[channel]) // 2, len(alone) // 2
        assert found[channel][middle - 1 : middle + 2] == pytest.approx(alone[own - 1 : own + 2])


def test_it_learns_two_peaks() -> None:
    torch.manual_seed(0)
    density = Density(1)
    optimiser = torch.optim.Adam(density.parameters(), lr=0.03)
    signs = torch.where(torch.rand(1, 1, 20, 20) < 0.5, -1.0, 1.0)
    for _ in range(250):
        values = 12 * signs + torch.randn_like(signs) + torch.rand_like(signs) - 0.5
        loss = density.bits(values).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 3.4  # one bit for the sign and 2.1 for a unit Gaussian
    density.requires_grad_(False)
    peak = density.bits(torch.tensor([-12.0, 0.0, 12.0]).view(1, 1, 1, 3)).flatten()
    assert float(peak[1]) > 2 + float(peak[[0, 2]].max())
    assert Tables.listed([*density.masses()]).scales == 1
