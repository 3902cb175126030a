"""The restoration network: what it leaves alone, may see and learns, and its arithmetic."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from pliant.layers import fused_restoration, int8, loops
from pliant.layers.exact import RateVector
from pliant.models import registry
from pliant.models.weights import check_bounds
from pliant.training.losses import RestorationLoss
from pliant.training.recipes import RECIPES
from pliant.transforms.restoration import (
    AREA,
    CONTRAST_UNIT,
    REACH,
    WHOLE,
    Restoration,
    contrast,
)
from pliant.units import FINEST_RESTORED


def at(*rates: int) -> RateVector:
    return RateVector(torch.tensor(rates, dtype=torch.float64))


@pytest.fixture
def network() -> Restoration:
    """One with weights that do something."""
    torch.manual_seed(2)
    network = Restoration(8).eval().requires_grad_(False)
    network.last.conv.weight.normal_(0, 0.3)
    for name, parameter in network.named_parameters():
        if "anchors" in name:
            parameter.normal_(0, 0.05)
    return network


@pytest.fixture
def picture() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 3, 64, 96) * 255


def test_fine_rates_are_left_alone(network: Restoration, picture: Tensor) -> None:
    assert network(picture, at(0, FINEST_RESTORED - 1)) is picture
    mixed = network(picture, at(FINEST_RESTORED - 1, 1500))
    assert torch.equal(mixed[0], picture[0])
    assert not torch.equal(mixed[1], picture[1])


def test_a_picture_of_a_batch_is_restored_as_alone(network: Restoration, picture: Tensor) -> None:
    both = network(picture, at(900, 1700))
    for i, rate in enumerate((900, 1700)):
        assert torch.allclose(both[i : i + 1], network(picture[i : i + 1], at(rate)), atol=1e-4)


def test_flat_areas_get_only_what_biases_say(network: Restoration) -> None:
    """Differences from the local mean are the only input: brightness does not enter."""
    dark, bright = (network(torch.full((1, 3, 64, 64), v), at(1500)) - v for v in (10.0, 200.0))
    assert torch.allclose(dark, bright, atol=1e-4)
    assert float(dark.abs().max()) > 0.1


def test_its_reach_is_enough(network: Restoration, picture: Tensor) -> None:
    wide = torch.nn.functional.interpolate(picture[:1], (256, 320))
    changed = wide.clone()
    changed[..., 192:] = 255 - changed[..., 192:]
    before, after = (network(x, at(1500)) for x in (wide, changed))
    edge = 192 - network.reach
    assert torch.equal(before[..., :edge], after[..., :edge])
    assert not torch.equal(before[..., edge:192], after[..., edge:192])


@pytest.mark.skipif(not int8.available(), reason="no int8 kernels here")
@pytest.mark.parametrize("rate", [700, 1300, 2047])
def test_int8_kernels_give_the_same(network: Restoration, picture: Tensor, rate: int) -> None:
    plain = network(picture[:1], at(rate))
    network.dtype = torch.uint8
    assert torch.equal(network(picture[:1], at(rate)), plain)


@pytest.mark.parametrize("ends", [(0, 64), (0, 5, 33, 64)])
def test_slices_of_rows_give_the_same_differences(picture: Tensor, ends: tuple[int, ...]) -> None:
    """Sums of rows go on within a slice, and start anew with it and with every picture."""
    step = torch.tensor([0.7, 12.0])
    expected = contrast(picture, step, torch.float32)
    planes, memory = loops.empty(tuple(expected.shape), torch.uint8)
    unit = (CONTRAST_UNIT / (WHOLE * AREA) / step).numpy()
    for first, last in itertools.pairwise(ends):
        fused_restoration.contrast(first, last, picture.numpy(), unit, WHOLE, REACH, memory)
    assert torch.equal(planes.float(), expected)


def test_the_shipped_one_is_exact_and_helps(photos: dict[str, Tensor]) -> None:
    model = registry.load().model
    assert model.restoration is not None
    check_bounds(model)
    image = model.pad(torch.tensor(photos["astronaut"][:320, :384]).permute(2, 0, 1)[None].float())
    for rate in (1000, 1400):
        _, restored = model.round_trip(image, at(rate), model.strength)
        network, model.restoration = model.restoration, None
        _, plain = model.round_trip(image, at(rate), model.strength)
        model.restoration = network
        assert float((restored - image).square().mean()) < float((plain - image).square().mean())


def test_the_loss_is_the_share_of_the_error_that_is_left() -> None:
    torch.manual_seed(0)
    model = registry.build("pyramid", widths=(8, 8, 8), restoration=8)
    assert model.restoration is not None
    batch = torch.rand(1, 3, 64, 64) * 255, torch.tensor([1200.0], dtype=torch.float64)
    loss = RestorationLoss(RECIPES["restoration"])
    model.restoration.last.conv.weight.data.zero_()
    share = loss(model, batch, 0.5)  # type: ignore[arg-type]
    assert share.item() == 1.0
    share.backward()
    trained = {n for n, p in model.named_parameters() if p.grad is not None}
    assert trained
    assert all(name.startswith("restoration.") for name in trained)
