"""A step of the weights leaves the mean sums of a layer where they were."""

from __future__ import annotations

import pytest
import torch

from pliant.layers.exact import ExactLayer, RateVector
from pliant.training.centring import Centring
from pliant.units import ANCHORS, RATE_UNIT


@pytest.fixture
def layer() -> ExactLayer:
    torch.manual_seed(0)
    return ExactLayer([(6, 1), (4, 3)], 8, variants=2)


def batch(level: float, generator: torch.Generator) -> list[torch.Tensor]:
    shape = (3, 1, 8, 8)
    return [
        (level * torch.rand(3, c, 8, 8, generator=generator)).round() + torch.ones(shape) * level
        for c in (6, 4)
    ]


def test_means_follow_the_inputs_of_each_anchor(layer: ExactLayer) -> None:
    centring = Centring(layer)
    generator = torch.Generator().manual_seed(1)
    found = batch(20, generator)
    layer(found, RateVector(torch.full((3,), 2.0 * RATE_UNIT)), 1)
    state = centring.state()
    assert state["seen"].nonzero().tolist() == [[1, 2]]
    for mean, x in zip(state["means"], found, strict=True):
        assert torch.allclose(mean[1, 2], x.mean((0, 2, 3)), rtol=1e-4)
        assert not bool(mean[0].any())
    layer(found, RateVector(torch.full((3,), 2.25 * RATE_UNIT)), 1)
    seen = centring.state()["seen"]
    assert (float(seen[1, 2]), float(seen[1, 3])) == pytest.approx((3 + 3 * 0.75, 3 * 0.25))


def test_the_mean_sum_stays(layer: ExactLayer) -> None:
    centring = Centring(layer)
    generator = torch.Generator().manual_seed(2)
    rate = RateVector(torch.full((3,), 4.0 * RATE_UNIT))
    inputs = batch(30, generator)
    layer(inputs, rate, 0)

    def mean_sums() -> torch.Tensor:
        inner = (layer.sums(inputs) + layer.bias(rate, 0))[:, :, 1:-1, 1:-1]
        return inner.mean((0, 2, 3)).detach()

    before = mean_sums()
    centring.before_step()
    with torch.no_grad():
        for conv in layer.convs:
            conv.weight += 0.02
    moved = mean_sums() - before
    centring.after_step()
    assert moved.min() > 10
    assert (mean_sums() - before).abs().max() < 0.05 * moved.min()


def test_gradients_are_those_of_centred_inputs(layer: ExactLayer) -> None:
    centring = Centring(layer)
    generator = torch.Generator().manual_seed(3)
    rate = RateVector(torch.full((3,), float(RATE_UNIT)))
    inputs = batch(10, generator)
    layer(inputs, rate, 0)
    target = torch.randn(3, 8, 8, 8, generator=generator)
    inner = (layer.sums(inputs) + layer.bias(rate, 0)) * target
    inner.sum().backward()
    centring.before_step()
    first = layer.convs[0]  # its kernel has no border
    mean = inputs[0].mean((0, 2, 3), keepdim=True)
    expected = torch.einsum("bohw,bchw->oc", target, inputs[0] - mean)
    assert torch.allclose(first.weight.grad.flatten(1), expected, rtol=1e-3, atol=1e-2)


def test_it_goes_on_from_its_state(layer: ExactLayer) -> None:
    centring, other = Centring(layer), Centring(ExactLayer([(6, 1), (4, 3)], 8, variants=2))
    layer(batch(9, torch.Generator()), RateVector(torch.full((3,), 100.0)), 1)
    other.load(centring.state())
    for ours, theirs in zip(centring.state()["means"], other.state()["means"], strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(centring.state()["seen"], other.state()["seen"])
    assert centring.state()["means"][0].shape == (2, ANCHORS, 6)
