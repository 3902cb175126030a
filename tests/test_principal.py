"""The start of an autoencoder at the principal components of photos."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pliant.layers.convolutions import down, up
from pliant.layers.quantize import step_for
from pliant.training import principal
from pliant.transforms.autoencoder import Autoencoder
from pliant.transforms.cheng2020 import ChengAutoencoder

STEP = 12.0


@pytest.fixture
def crops(photo: Any) -> Tensor:
    """Twelve crops of a photo, 64 x 64."""
    pixels = torch.from_numpy(np.array(photo)).float().permute(2, 0, 1)
    corners = [(y, x) for y in (0, 64, 128) for x in (0, 64, 128, 192)]
    return torch.stack([pixels[:, y : y + 64, x : x + 64] for y, x in corners])


def test_the_start_is_a_transform_codec(crops: Tensor) -> None:
    torch.manual_seed(1)
    transform = Autoencoder(width=48, channels=192, scale=16.0)
    principal.start(transform, crops, STEP)
    (y,) = transform.analysis(crops)
    unquantised = float((transform.synthesis([y]) - crops).square().mean().detach())
    assert unquantised < 20  # what 192 of 768 numbers of a block leave
    error = (transform.synthesis([y.round()]) - crops).square().mean().detach()
    added = float(error) - unquantised
    # orthonormal: each of the numbers that are not mostly zero adds STEP ** 2 / 12
    assert 0.02 * STEP**2 / 12 < added < 192 / 768 * STEP**2 / 12
    energy = y.square().mean((0, 2, 3)).tolist()
    assert energy[0] > 4 * energy[1] > 1000 * energy[-1]


def test_random_weights_are_no_codec(crops: Tensor) -> None:
    torch.manual_seed(1)
    transform = Autoencoder(width=48, channels=192, scale=16.0)
    error = (transform.synthesis(transform.analysis(crops)) - crops).square().mean()
    assert float(error.detach()) > 1000


def test_the_scale_is_in_the_step_not_in_the_weights(crops: Tensor) -> None:
    latents = []
    for scale in (1.0, 16.0):
        torch.manual_seed(1)
        transform = Autoencoder(width=12, channels=24, scale=scale)
        principal.start(transform, crops, STEP)
        latents.append(transform.analysis(crops)[0])
    torch.testing.assert_close(*latents, rtol=1e-3, atol=1e-3)


def test_scaled_layers(crops: Tensor) -> None:
    torch.manual_seed(1)
    for make, factor in ((down, 16.0), (up, 1 / 16)):
        plain, scaled = make(3, 4), make(3, 4, 16.0)
        scaled.load_state_dict(plain.state_dict())
        assert plain.bias is not None
        with torch.no_grad():
            plain.bias.zero_()
            assert scaled.bias is not None
            scaled.bias.zero_()
        torch.testing.assert_close(scaled(crops), plain(crops) * factor)


def test_step_of_a_weight() -> None:
    # rate + weight * step**2 / 12 is least there, when halving the step costs one bit
    weight, step = 0.013, step_for(0.013)

    def cost(s: float) -> float:
        return weight * s**2 / 12 - float(np.log2(s))

    assert cost(step) < min(cost(0.97 * step), cost(1.03 * step))


def test_what_it_applies_to() -> None:
    assert principal.applies(Autoencoder(4, 6))
    assert not principal.applies(Autoencoder(4, 6, rectified=True))
    assert not principal.applies(ChengAutoencoder(4, False))
