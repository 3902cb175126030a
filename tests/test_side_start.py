"""The start of a hyperprior: z speaks from the first step, and what it says helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pliant.layers.exact import RateVector
from pliant.layers.quantize import step_for
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.priors import walk
from pliant.training import principal, side_start

WEIGHT = 0.013
RATE = RateVector(torch.zeros(1, dtype=torch.long))


@pytest.fixture
def crops(photos: dict[str, Any]) -> Tensor:
    """Crops of two photos, 128 x 128."""
    found = []
    for name in ("astronaut", "coffee"):
        pixels = torch.from_numpy(np.array(photos[name])).float().permute(2, 0, 1)
        corners = [(y, x) for y in (0, 128, 256) for x in (0, 128, 256, 384)]
        found += [pixels[:, y : y + 128, x : x + 128] for y, x in corners]
    return torch.stack([c for c in found if c.shape[1:] == (128, 128)])


def started(name: str, crops: Tensor, side: bool) -> ImageModel:
    torch.manual_seed(1)
    model = registry.build(name)
    principal.start(model.transform, crops, step_for(WEIGHT))
    model.start_from_photos(crops, WEIGHT)
    if side:
        side_start.start(model, crops)
    return model.eval()


@torch.inference_mode()
def steps(model: ImageModel, image: Tensor) -> list[tuple[walk.Step, Tensor]]:
    """Steps and symbols of z and of y."""
    symbols = [y.round() for y in model.transform.analysis(image)]
    size = (image.shape[2], image.shape[3])
    return list(zip(walk.taught(model.prior, symbols, size, RATE), symbols, strict=True))


@pytest.mark.parametrize("name", ["scale-hyperprior-small", "mean-scale-hyperprior-small"])
def test_z_speaks_and_its_scales_follow_magnitudes(crops: Tensor, name: str) -> None:
    (side_step, side), (step, main) = steps(started(name, crops, True), crops)
    assert float(side.abs().max()) >= 6
    costs = [float(s.bits(q).sum()) for s, q in ((side_step, side), (step, main))]
    assert 0.002 * costs[1] < costs[0] < 0.05 * costs[1]
    assert correlation(step, main) > 0.2


def test_without_it_scales_know_nothing(crops: Tensor) -> None:
    _, (step, main) = steps(started("scale-hyperprior-small", crops, False), crops)
    assert correlation(step, main) < 0.1


def correlation(step: walk.Step, main: Tensor) -> float:
    """Of table indices and magnitudes: the mean of the ten strongest channels."""
    strongest = main.abs().mean((0, 2, 3)).argsort(descending=True)[:10]
    index, magnitude = (
        x.movedim(1, 0)[strongest].flatten(1).double().numpy() for x in (step.index, main.abs())
    )
    rows = zip(index, magnitude, strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in rows if a.std() and b.std()] or [0]))


def test_scales_are_fitted() -> None:
    generator = torch.Generator().manual_seed(1)
    known = torch.randint(0, 40, (20_000, 3), generator=generator).float()
    octaves = known @ torch.tensor([[0.1, 0.0], [0.0, -0.05], [0.02, 0.0]]) + 1.5
    uniform = torch.rand(octaves.shape, generator=generator)
    weight, bias = side_start._log_linear(known, -uniform.log() * torch.exp2(octaves))
    expected = torch.tensor([[0.1, 0.0], [0.0, -0.05], [0.02, 0.0]])
    torch.testing.assert_close(weight, expected, atol=0.004, rtol=0)
    assert (bias - 1.5).abs().max() < 0.08


def test_only_exact_hyperpriors_are_meant() -> None:
    assert side_start.applies(registry.build("scale-hyperprior-small"))
    for name in ("factorized-small", "pyramid", "bmshj2018-hyperprior-128"):
        assert not side_start.applies(registry.build(name))
