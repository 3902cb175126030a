"""The counted work of the models, against an independent count, and the promise about it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from autoencoder import PRIORS, loaded
from torch import Tensor, nn

from pliant.layers.exact import ExactConv2d, RateVector
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.models.complexity import macs_per_pixel
from pliant.models.pyramid import PyramidModel
from pliant.units import RATE_MAX

SIZE = 512
LIMIT = 25_000  # multiply-accumulates per pixel of a decoder


class Hooks:
    """Counts the multiply-accumulates of all convolution modules that run."""

    def __init__(self, model: nn.Module) -> None:
        self.count = 0
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | ExactConv2d):
                module.register_forward_hook(self.add)

    def add(self, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs, first = module.weight.shape[0], module.weight.shape[1]
        taps = module.weight.shape[2] * module.weight.shape[3]
        grid = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        self.count += outputs * first * taps * math.prod(grid.shape[2:])


@torch.no_grad()
def counted(model: ImageModel) -> tuple[float, float]:
    """(encoder, decoder) per pixel without lifting and other convolutions that are no modules."""
    rate = RateVector(torch.tensor([RATE_MAX]))
    hooks = Hooks(model)
    latents = model.transform.analysis(torch.zeros(1, 3, SIZE, SIZE))
    analysis, hooks.count = hooks.count, 0
    schedule = model.prior.schedule((SIZE, SIZE), rate)
    step = next(schedule)
    while step is not None:
        try:
            step = schedule.send(torch.zeros_like(step.mean))
        except StopIteration:
            break
    prior, hooks.count = hooks.count, 0
    model.decoded(latents, rate)
    return (analysis + prior) / SIZE**2, (prior + hooks.count) / SIZE**2


@pytest.mark.parametrize("prior", PRIORS)
def test_count_of_an_autoencoder(prior: str) -> None:
    assert macs_per_pixel(loaded(prior).model) == pytest.approx(counted(loaded(prior).model))


def test_count_of_a_convolution_by_hand() -> None:
    """5x5 stride 2, 3 -> 8 -> 8 -> 8 -> 12 and 12 -> 8 -> 4 of the hyper analysis."""
    encoder, _ = macs_per_pixel(loaded("hyperprior").model)
    analysis = 25 * (3 * 8 / 4 + 8 * 8 / 16 + 8 * 8 / 64 + 8 * 12 / 256)
    analysis += 25 * (12 * 8 / 1024 + 8 * 4 / 4096)
    prior = 9 * (8 * 8 / 4096 + 8 * 8 / 1024 + 8 * 8 / 256) + 8 * 24 / 256
    assert encoder == pytest.approx(analysis + prior)


def test_count_of_the_pyramid() -> None:
    model = PyramidModel().eval()
    encoder, decoder = macs_per_pixel(model)
    hooked = counted(model)
    # Beside the modules there are the lifting (16 per pixel) and the colours (9), counted or not.
    for found, expected in zip((encoder, decoder), hooked, strict=True):
        assert expected <= found <= expected + 2 * 9 + 16


@pytest.mark.parametrize("name", [n for n, entry in registry.MODELS.items() if not entry.qualities])
def test_decoders_are_light(name: str) -> None:
    chosen = registry.MODELS[name]
    _, decoder = macs_per_pixel(chosen.build(**chosen.config))
    assert decoder <= LIMIT


def test_counting_leaves_no_trace() -> None:
    before = nn.functional.conv2d, nn.functional.conv_transpose2d
    macs_per_pixel(loaded("hyperprior").model)
    assert (nn.functional.conv2d, nn.functional.conv_transpose2d) == before
