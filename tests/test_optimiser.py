"""Muon for the kernels, Adam for the rest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pliant.layers.exact import ExactConv2d, SpreadConv2d
from pliant.training.optimiser import Optimiser


@pytest.fixture
def module() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {"kernel": ExactConv2d(8, 6, 3, 8), "spread": SpreadConv2d(4, 2), "unused": nn.PReLU()}
    )


def train(module: nn.ModuleDict, optimiser: Optimiser, steps: int, share: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in (module["kernel"].weight, module["spread"].weight):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimiser.step(share)


def test_a_kernel_moves_along_an_orthogonal_matrix(module: nn.ModuleDict) -> None:
    before = module["kernel"].weight.detach().clone()
    train(module, Optimiser(module, 1e-3, 1e-2), 1, share=0.5)
    moved = (before - module["kernel"].weight.detach()).flatten(1)
    values = torch.linalg.svdvals(moved) / (0.5 * 1e-2 * 0.2 * 72**0.5)
    assert values.min() > 0.5  # of a random gradient they spread from 0.7 to 1.3 of their mean
    assert values.max() < 1.5


def test_logarithms_move_as_with_adam(module: nn.ModuleDict) -> None:
    before = module["spread"].weight.detach().clone()
    train(module, Optimiser(module, 1e-3, 1e-2), 1)
    moved = (module["spread"].weight.detach() - before).abs()
    assert torch.allclose(moved, torch.full_like(moved, 1e-3), rtol=1e-2)


def test_it_goes_on_from_its_state(module: nn.ModuleDict) -> None:
    optimiser = Optimiser(module, 1e-3, 1e-2)
    train(module, optimiser, 2)
    other_module = copy.deepcopy(module)
    other = Optimiser(other_module, 1e-3, 1e-2)
    other.load(copy.deepcopy(optimiser.state()))
    train(module, optimiser, 1)
    train(other_module, other, 1)
    for ours, theirs in zip(module.parameters(), other_module.parameters(), strict=True):
        assert torch.equal(ours, theirs)
