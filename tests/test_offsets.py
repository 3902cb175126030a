"""Reconstruction offsets and the variable step of the side latent: values, gradients, tables."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from small_vbr import NAMES, PUBLISHED, make
from torch import Tensor

from pliant import container
from pliant.codec import Codec
from pliant.entropy import rans
from pliant.entropy.tables import Tables
from pliant.layers.density import Density
from pliant.layers.exact import RateVector
from pliant.layers.offsets import Correction, Offsets
from pliant.layers.variable import LEAST_HYPER_STEP, HyperStep, VariableGains
from pliant.models.registry import Entry, Loaded
from pliant.models.variable_rate import VariableRateModel
from pliant.priors import walk
from pliant.priors.tabled import density_step

ENTRY = Entry("small", VariableRateModel, sha256="01" * 32)


def vector(rate: float, batch: int = 1) -> RateVector:
    return RateVector(torch.full((batch,), float(rate), dtype=torch.float64))


def picture(pixels: Any) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()


def random_offsets() -> Offsets:
    torch.manual_seed(0)
    offsets = Offsets()
    with torch.no_grad():
        for parameter in offsets.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return offsets


def test_sizes_are_the_published_ones() -> None:
    assert sum(p.numel() for p in Offsets().parameters()) == 205
    assert sum(p.numel() for p in HyperStep().parameters()) == 141
    assert sum(p.numel() for p in VariableGains(True).parameters()) == 149


def test_offsets_equal_the_formula() -> None:
    net, gain = random_offsets(), torch.tensor([0.25, 0.8])[:, None, None, None]
    mean, scale = torch.randn(2, 3, 4, 5) * 3, torch.rand(2, 3, 4, 5) * 2
    symbols = torch.randint(-3, 4, mean.shape).float()
    got = Correction(net, gain)(symbols + mean, mean, scale)
    for b in range(2):
        for q, m, s, value in zip(
            *(x[b].flatten().tolist() for x in (symbols, mean, scale, got)), strict=True
        ):
            inputs = torch.tensor([max(s, 0.11), float(gain[b])])
            delta = -float(net.net(inputs).detach()) if q else 0.0
            sign = (q > 0) - (q < 0)
            assert value == pytest.approx(sign * (abs(q) + delta) + m, abs=2e-5)


def test_no_offset_where_the_symbol_is_zero() -> None:
    net = random_offsets()
    mean = torch.randn(1, 2, 9, 9)
    symbols = torch.randint(-2, 3, mean.shape).float()
    with torch.no_grad():
        moved = Correction(net, torch.tensor(0.5))(symbols + mean, mean, torch.ones_like(mean))
    moved = moved - mean
    assert torch.equal(moved[symbols == 0], torch.zeros_like(moved[symbols == 0]))
    assert torch.equal(moved.sign().round(), symbols.sign())
    assert bool((moved - symbols).abs()[symbols != 0].gt(1e-3).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_does_not_see_offsets(name: str, photo: Any) -> None:
    model = make(name).requires_grad_(True)
    image = picture(photo[:64, :128])
    torch.manual_seed(1)
    bits, decoded = model.surrogate(image, vector(600))
    parameters = list(model.prior.offsets.parameters())
    from_rate = torch.autograd.grad(bits.sum(), parameters, retain_graph=True, allow_unused=True)
    assert all(g is None or float(g.abs().sum()) == 0 for g in from_rate)
    from_error = torch.autograd.grad((decoded - image).square().mean(), parameters)
    assert all(float(g.abs().sum()) > 0 for g in from_error)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "joint"])
def test_the_stream_does_not_see_offsets(name: str, photo: Any) -> None:
    """Not so where a context sees what was decoded: the joint model."""
    model, without = make(name), make(name)
    without.prior.offsets.load_state_dict(Offsets().state_dict())
    files, pixels = [], []
    for each in (model, without):
        codec = Codec(Loaded(ENTRY, each.requires_grad_(False), each.tables()))
        files.append(codec.encode(photo[:65, :100], quality=50))
        pixels.append(codec.decode(files[-1]).pixels)
    assert files[0] == files[1]
    assert bool((pixels[0] != pixels[1]).any())


def test_the_step_has_a_least_value_and_can_leave_it() -> None:
    step, gains = HyperStep(), torch.tensor([1.0, 0.3, 0.1])
    assert torch.allclose(step(gains), torch.ones(3))  # at the start
    last = step.net[4]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias.fill_(-4.0)
    found = step(gains)
    assert torch.equal(found, torch.full((3,), LEAST_HYPER_STEP))
    (-found.sum()).backward()  # who wants it larger is heard
    assert last.bias.grad is not None
    assert float(last.bias.grad) < 0
    last.bias.grad = None
    step(gains).sum().backward()
    assert float(last.bias.grad) == 0


def normal_density() -> Density:
    """A density trained on N(0, 4 * 4)."""
    torch.manual_seed(0)
    density = Density(4)
    optimiser = torch.optim.Adam(density.parameters(), 0.05)
    for _ in range(250):
        values = torch.randn(1, 4, 16, 16) * 4 + torch.rand(1, 4, 16, 16) - 0.5
        optimiser.zero_grad()
        density.bits(values).mean().backward()
        optimiser.step()
    density.settle()
    return density


def test_coded_bits_follow_the_step() -> None:
    """Each doubling of the step saves a bit per value, in the estimate and in the file."""
    density = normal_density().requires_grad_(False)
    latent = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(3)) * 4
    coded = []
    for width in (0.5, 1.0, 2.0, 4.0):
        unit = torch.full((1, 1, 1, 1), width)
        step = density_step(density, 0, latent.shape).in_units(unit)
        values = step.choose(latent / unit, 0.0)
        estimate = float(step.bits(values).sum())
        centre, mean = step.centred()
        encoder = rans.Encoder(Tables.listed(density.masses(width)), 1)
        planes = ((values - centre).round().int(), step.index.byte(), mean.short())
        encoder.add(*(x.permute(0, 2, 3, 1).contiguous().numpy().ravel() for x in planes), False)
        coded.append(8 * len(encoder.finish(encoder.hash)))
        assert abs(coded[-1] - estimate) <= 0.01 * estimate + 64
        assert coded[-1] == pytest.approx(entropy(4 / width) * latent.numel(), rel=0.02)
    for finer, coarser in itertools.pairwise(coded[:3]):  # 4 is no fine step any more
        assert 0.98 <= (finer - coarser) / latent.numel() <= 1.02


def entropy(deviation: float) -> float:
    """Of a rounded Gaussian, in bits."""
    edges = (np.arange(-100, 101) - 0.5) / (deviation * 2**0.5)
    mass = np.diff([math.erf(e) for e in edges]) / 2
    mass = mass[mass > 0]
    return float(-(mass * np.log2(mass)).sum())


@pytest.mark.parametrize("width", [0.5, 2.0])
def test_every_density_parameter_learns_at_every_step(width: float) -> None:
    torch.manual_seed(0)
    density = Density(3)
    unit = torch.full((2, 1, 1, 1), width, requires_grad=True)
    density.bits(torch.randn(2, 3, 8, 8) * 4, unit).sum().backward()
    for name, parameter in density.named_parameters():
        if name != "quantiles":
            assert parameter.grad is not None
            assert float(parameter.grad.abs().sum()) > 0, name
    assert unit.grad is not None
    assert float(unit.grad.sum()) < 0  # wider bins cost less


def test_a_width_of_one_is_the_usual_density() -> None:
    torch.manual_seed(0)
    density, values = Density(3).requires_grad_(False), torch.randn(2, 3, 8, 8) * 4
    assert torch.equal(density.bits(values), density.bits(values, torch.ones(2, 1, 1, 1)))


def test_quantiles_follow_the_trained_density() -> None:
    """Without an auxiliary loss: they are found when the tables are made."""
    density = normal_density()
    with torch.no_grad():
        for bias in density.biases:
            bias.add_(0.2)
    before = density.medians.clone()
    density.settle()
    assert float((density.medians - before).abs().min()) > 1e-3
    with torch.no_grad():
        logits = density.logits(density.quantiles.detach())
    assert torch.allclose(logits[:, 0, 1], torch.zeros(4), atol=1e-4)


@pytest.mark.parametrize("name", ["scale", "mean-scale"])
def test_tables_are_made_for_the_step_of_the_rate(name: str, photo: Any) -> None:
    """Tables of another rate would cost more, and the reader must have made the same ones."""
    model = make(name).requires_grad_(False)
    stored = model.tables()
    rates = (0, 1000, 2047)
    made = [model.tables_at(rate, stored) for rate in rates]
    assert not (
        made[0].counts.shape == made[2].counts.shape and (made[0].counts == made[2].counts).all()
    )
    steps = [float(model.gains.steps(vector(rate))[0]) for rate in rates]
    for rate, tables, width in zip(rates, made, steps, strict=True):
        again = model.tables_at(rate, stored)
        assert (again.counts == tables.counts).all()
        expected = model.prior.published.tables(width)
        assert (expected.counts == tables.counts).all()
    codec = Codec(Loaded(ENTRY, model, stored))
    assert len(container.read(codec.encode(photo[:64, :64], quality=50)).tiles) == 1


def test_exact_models_need_no_other_tables() -> None:
    model = make("exact mean-scale")
    stored = model.tables()
    assert all(model.tables_at(rate, stored) is stored for rate in (0, 999))


@pytest.mark.parametrize("name", [n for n in NAMES if n in PUBLISHED])
def test_contexts_and_networks_see_the_unit_of_their_own_rate(name: str) -> None:
    """Means and scales that the networks say are divided by the step, whatever the rate."""
    model = make(name).requires_grad_(False)
    torch.manual_seed(5)
    known = [torch.randn(1, 6, 2, 2), torch.randn(1, 10, 8, 8) * 3]
    for rate in (0, 800):
        units = model.gains.steps(vector(rate))
        latents = [y / unit for y, unit in zip(known, units, strict=True)]
        assert isinstance(model.prior, walk.RealPrior)
        step = model.prior.parallel(latents, (128, 128), vector(rate))[1]
        inner = model.prior.inner.parallel(known, (128, 128), vector(rate))[1]
        assert torch.allclose(step.mean, inner.mean / units[1], rtol=1e-4, atol=1e-4)
        assert torch.allclose(step.scale, (inner.scale / units[1]).clamp(min=0.11), rtol=1e-4)
