"""Steps of real means and scales: values, table numbers, costs."""

from __future__ import annotations

import math

import pytest
import torch

from pliant.entropy.families import GAUSSIANS, gaussian_scale
from pliant.layers.density import Density
from pliant.priors.tabled import TabledStep, density_step, gaussian_step
from pliant.priors.walk import LARGEST


def numbers(step: TabledStep) -> list[int]:
    return (16 * step.index + step.fraction + 8).flatten().int().tolist()


def test_the_nearest_table_is_taken() -> None:
    table = torch.from_numpy(gaussian_scale(range(GAUSSIANS))).float()
    scale = torch.cat((table * 1.05, table / 1.05, torch.tensor([0.0, -3.0, 1e4]))).view(
        1, 1, 1, -1
    )
    step = gaussian_step(torch.zeros_like(scale), scale)
    assert numbers(step) == [*range(GAUSSIANS), *range(GAUSSIANS), 0, 0, 63]
    assert float(step.scale.min()) == pytest.approx(0.11)


def test_values_are_symbols_plus_means() -> None:
    mean = torch.tensor([0.3, -7.75, 1000.2]).view(1, 1, 1, 3)
    latents = torch.tensor([0.9, -8.1, 1e9]).view(1, 1, 1, 3)
    step = gaussian_step(mean, torch.ones_like(mean))
    values = step.choose(latents, 1.0)
    centre, fraction = step.centred()
    symbols = (values - centre).round()
    assert symbols.flatten().tolist() == [1, 0, LARGEST]
    assert torch.equal(symbols + centre, values)
    assert torch.equal(fraction, step.fraction)


def test_cost_of_a_gaussian() -> None:
    mean, scale = torch.tensor(0.25), torch.tensor(1.7)
    values = torch.tensor([0.25, 2.25, -3.0, 60.0])
    step = gaussian_step(mean.expand(1, 1, 1, 4), scale.expand(1, 1, 1, 4))
    found = step.bits(values.view(1, 1, 1, 4)).flatten().tolist()
    for value, bits in zip(values.tolist()[:3], found[:3], strict=True):
        low, high = ((value - 0.25 + h) / 1.7 / math.sqrt(2) for h in (-0.5, 0.5))
        assert bits == pytest.approx(-math.log2(0.5 * (math.erf(high) - math.erf(low))), rel=1e-4)
    assert found[3] == pytest.approx(-math.log2(1e-9))


def test_gradients_of_the_cost() -> None:
    torch.manual_seed(0)
    mean, scale, values = (torch.randn(1, 2, 3, 4, dtype=torch.float64) for _ in range(3))
    scale = scale.abs() + 0.3
    arguments = [x.requires_grad_() for x in (mean, scale, values)]
    assert torch.autograd.gradcheck(lambda m, s, v: gaussian_step(m, s).bits(v), arguments)


def test_densities_have_a_table_for_each_channel() -> None:
    density = Density(40)
    with torch.no_grad():
        density.quantiles[:, 0, 1] = torch.arange(40.0)
    step = density_step(density, GAUSSIANS, (2, 40, 1, 3))
    assert numbers(step)[::3] == [*range(64, 104), *range(64, 104)]
    assert torch.equal(step.mean[1, :, 0, 2], torch.arange(40.0))
