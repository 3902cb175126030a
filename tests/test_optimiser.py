"""Muon for the kernels, Adam for the rest."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from pliant.layers.exact import ExactConv2d, ExactLayer, RateVector, SpreadConv2d
from pliant.layers.invertible import InvertibleConv
from pliant.training.optimiser import Optimiser


@pytest.fixture
def module() -> nn.ModuleDict:
    torch.manual_seed(0)
    spread = SpreadConv2d(4, 2)
    nn.init.constant_(spread.weight, -3.0)
    kernel = ExactConv2d(8, 6, 3, 8, gain=0.3)  # far from the ends of its grid
    return nn.ModuleDict({"kernel": kernel, "spread": spread, "unused": nn.PReLU()})


def train(module: nn.ModuleDict, optimiser: Optimiser, steps: int, share: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in (module["kernel"].weight, module["spread"].weight):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimiser.step(share)


def test_a_kernel_moves_along_an_orthogonal_matrix(module: nn.ModuleDict) -> None:
    before = module["kernel"].weight.detach().clone()
    train(module, Optimiser(module, 1e-3, 1e-2, 2.0), 1, share=0.5)
    moved = (before - module["kernel"].weight.detach()).flatten(1)
    values = torch.linalg.svdvals(moved) / (0.5 * 1e-2 * 0.2 * 72**0.5)
    assert values.min() > 0.5  # of a random gradient they spread from 0.7 to 1.3 of their mean
    assert values.max() < 1.5


def test_logarithms_move_as_with_adam(module: nn.ModuleDict) -> None:
    before = module["spread"].weight.detach().clone()
    train(module, Optimiser(module, 1e-3, 1e-2, 2.0), 1)
    moved = (module["spread"].weight.detach() - before).abs()
    assert torch.allclose(moved, torch.full_like(moved, 1e-3), rtol=1e-2)


def test_it_goes_on_from_its_state(module: nn.ModuleDict) -> None:
    optimiser = Optimiser(module, 1e-3, 1e-2, 2.0)
    train(module, optimiser, 2)
    other_module = copy.deepcopy(module)
    other = Optimiser(other_module, 1e-3, 1e-2, 2.0)
    other.load(copy.deepcopy(optimiser.state()))
    train(module, optimiser, 1)
    train(other_module, other, 1)
    for ours, theirs in zip(module.parameters(), other_module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_each_tensor_is_clipped_by_its_own_usual_norm() -> None:
    module = nn.ParameterList(nn.Parameter(torch.zeros(3, 2)) for _ in range(2))
    optimiser = Optimiser(module, 1e-3, 1e-2, 2.0)

    def clip(norms: tuple[float, float]) -> tuple[float, float, float]:
        for parameter, norm in zip(module, norms, strict=True):
            parameter.grad = torch.zeros_like(parameter)
            parameter.grad.view(-1)[0] = norm
        before = float(optimiser.clip())
        after = [float(p.grad.norm()) for p in module if p.grad is not None]
        return before, after[0], after[1]

    assert clip((0.3, 40.0)) == pytest.approx((math.hypot(0.3, 40.0), 0.3, 40.0))
    # a spike is cut to twice the usual norm, and the other tensor does not notice
    assert clip((30.0, 40.0)) == pytest.approx((50.0, 0.6, 40.0))
    assert clip((0.3, math.nan))[1] == pytest.approx(0.3)
    assert clip((0.3, 40.0))[2] == pytest.approx(40.0)


def test_what_is_kept_of_a_weight_follows_it() -> None:
    """A step counts as a change, also that of a fused optimiser."""
    layer = InvertibleConv(4)
    exact = ExactLayer([(4, 1)], 4)
    module = nn.ModuleList([layer, exact])
    optimiser = Optimiser(module, 0.05, 0.05, 2.0)
    x = torch.rand(1, 4, 2, 2)
    activations = (100 * x).round()
    rate = RateVector(torch.zeros(1))
    with torch.no_grad():
        before = layer.inverse(x), exact([activations], rate)
    (layer(x).square().sum() + exact([activations], rate).sum()).backward()
    optimiser.step(1.0)
    with torch.no_grad():
        assert not torch.equal(layer.inverse(x), before[0])
        assert torch.allclose(layer.inverse(layer(x)), x, atol=1e-5)
        assert not torch.equal(exact([activations], rate), before[1])
