"""The exact layers against a slow integer reference, their bounds, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from integer_reference import convolution, half_even, integers, interpolated
from torch import Tensor, nn

from pliant.errors import MissingError
from pliant.layers import int8
from pliant.layers.exact import (
    ExactConv2d,
    ExactHead,
    ExactLayer,
    RateBias,
    RateVector,
    SpreadConv2d,
)
from pliant.layers.integers import (
    EXACT_SUM,
    log_index,
)
from pliant.models.weights import check_bounds
from pliant.units import ANCHORS, RATE_MAX

RATES = (0, 1, 255, 256, 300, 1023, RATE_MAX)


def conv_of(layer: ExactLayer, number: int = 0) -> ExactConv2d:
    conv = layer.convs[number]
    assert isinstance(conv, ExactConv2d)
    return conv


def inputs(kind: str, shape: tuple[int, ...]) -> Tensor:
    rng = np.random.default_rng(len(kind))
    x = {
        "zero": np.zeros(shape),
        "largest": np.full(shape, 127),
        "random": rng.integers(0, 128, shape),
        "extreme": rng.choice([0, 127], shape),
    }[kind]
    return torch.from_numpy(x.astype(np.float32))


@torch.no_grad()
def randomise(module: nn.Module, spread: float, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.copy_(torch.randn(p.shape, generator=generator) * spread)


@pytest.mark.parametrize("kind", ["zero", "largest", "random", "extreme"])
@pytest.mark.parametrize("spread", [0.05, 0.3, 10.0])
@torch.no_grad()
def test_layer_equals_integer_reference(kind: str, spread: float) -> None:
    layer = ExactLayer([(9, 1), (7, 3)], 12, variants=2).eval()
    randomise(layer, spread)
    check_bounds(layer)
    first, second = inputs(kind, (2, 9, 11, 9)), inputs(kind, (2, 7, 11, 9))
    rates = [300, RATE_MAX]
    out = layer([first, second], RateVector(torch.tensor(rates)), 1)
    sums = 2 * convolution(integers(first), integers(conv_of(layer).folded(), 2**7))
    sums += convolution(integers(second), integers(conv_of(layer, 1).folded(), 2**8))
    bias = np.stack([interpolated(layer.bias, 1, r) for r in rates])[:, :, None, None]
    assert np.array_equal(integers(out), half_even(sums + bias, 8).clip(0, 127))


@torch.no_grad()
def test_long_sums_near_the_bound_are_exact() -> None:
    layer = ExactLayer([(112, 3)], 3).eval()
    conv_of(layer).weight.copy_(torch.where(torch.rand(3, 112, 3, 3) < 0.5, 1.0, -1.0))
    assert 0.95 * EXACT_SUM < layer.worst_sum() < EXACT_SUM
    x = (conv_of(layer).weight[:1] > 0) * 127.0  # the very input that reaches the bound
    out = layer.sums([x])
    assert np.array_equal(
        integers(out, 256), convolution(integers(x), integers(conv_of(layer).folded(), 256))
    )


@pytest.mark.parametrize("rate", RATES)
@torch.no_grad()
def test_head_and_bias_equal_integer_reference(rate: int) -> None:
    head = ExactHead(10, 6).eval()
    randomise(head, 3.0, rate)
    x = inputs("random", (1, 10, 4, 4))
    out = integers(head(x, RateVector(torch.tensor([rate]))), 256)
    expected = convolution(integers(x), integers(head.conv.folded(), 256))
    assert np.array_equal(out, expected + interpolated(head.bias, 0, rate)[:, None, None])


@torch.no_grad()
def test_spread_equals_integer_reference() -> None:
    spread = SpreadConv2d(8, 5).eval()
    randomise(spread, 2.0)
    x = inputs("extreme", (1, 8, 6, 6))
    out = integers(spread.spread(x, RateVector(torch.tensor([777]))))
    weights = np.round(np.exp(spread.weight.double().numpy()) * 256).clip(0, 127).astype(np.int64)
    expected = (
        convolution(integers(x), weights) + interpolated(spread.constant, 0, 777)[:, None, None]
    )
    assert np.array_equal(out, expected.clip(1))
    assert out.max() <= spread.worst_sum()


@pytest.mark.parametrize("threads", [1, 2])
@torch.no_grad()
def test_layout_batch_and_threads_change_nothing(threads: int) -> None:
    layer = ExactLayer([(24, 3)], 16).eval()
    randomise(layer, 0.1)
    x = inputs("random", (17, 24, 13, 11))
    rate = RateVector(torch.full((17,), 100))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        expected = torch.cat(
            [layer([x[i : i + 1]], RateVector(torch.tensor([100]))) for i in range(17)]
        )
        for memory_format in (torch.contiguous_format, torch.channels_last):
            assert torch.equal(layer([x.contiguous(memory_format=memory_format)], rate), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not int8.available(), reason="no int8 kernels")
@pytest.mark.parametrize("kind", ["zero", "largest", "random", "extreme"])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_int8_kernels_give_the_same_integers(kind: str, batch: int) -> None:
    rate = RateVector(torch.full((batch,), 300))
    for shapes in ([(9, 1), (7, 3)], [(40, 3)], [(6, 1), (5, 1), (4, 3)]):
        layer = ExactLayer(shapes, 20).eval()
        head, spread = ExactHead(20, 6).eval(), SpreadConv2d(20, 5).eval()
        for module in (layer, head, spread):
            randomise(module, 0.4)
        x = [inputs(kind, (batch, channels, 11, 9)) for channels, _ in shapes]
        hidden = layer(x, rate)
        small = layer([y.to(torch.uint8) for y in x], rate)
        assert torch.equal(small.float(), hidden)
        assert torch.equal(head(small.to(torch.uint8), rate), head(hidden, rate))
        found = spread.spread(hidden.to(torch.uint8), rate)
        assert torch.equal(found, spread.spread(hidden, rate))


def too_heavy(kind: str) -> nn.Module:
    if kind == "layer":
        layer = ExactLayer([(200, 3)], 2)
        nn.init.constant_(conv_of(layer).weight, 0.5)
        return layer
    if kind == "1x1 layer, whose bias has a finer unit":
        layer = ExactLayer([(600, 1)], 2)
        nn.init.constant_(conv_of(layer).weight, 1.0)
        assert conv_of(layer).worst_sum() < EXACT_SUM  # in its own units all is well
        return layer
    if kind == "bias":
        layer = ExactLayer([(100, 3)], 2)
        nn.init.constant_(conv_of(layer).weight, 0.5)
        check_bounds(layer)
        nn.init.constant_(layer.bias.anchors, 1e9)
        return layer
    if kind == "head":
        head = ExactHead(1100, 1)
        nn.init.constant_(head.conv.weight, 1.0)
        return head
    spread = SpreadConv2d(120, 1)
    nn.init.constant_(spread.weight, 0.0)  # a logarithm: the weight is as large as can be
    return spread


@pytest.mark.parametrize(
    "kind", ["layer", "1x1 layer, whose bias has a finer unit", "bias", "head", "spread"]
)
def test_weights_that_could_overflow_are_refused(kind: str) -> None:
    with pytest.raises(MissingError, match="overflow"):
        check_bounds(too_heavy(kind))


def test_weights_that_are_no_numbers_are_refused() -> None:
    layer = ExactLayer([(4, 3)], 2)
    nn.init.constant_(conv_of(layer).weight, float("nan"))
    with pytest.raises(MissingError, match="overflow"):
        check_bounds(layer)


def test_every_parameter_of_a_layer_learns() -> None:
    layer = ExactLayer([(4, 1), (4, 3)], 8)
    head = ExactHead(8, 2)
    spread = SpreadConv2d(4, 2)
    x = inputs("random", (1, 4, 6, 6))
    rate = RateVector(torch.tensor([130.0]))
    out = head(layer([x, x], rate), rate) + log_index(spread.spread(x, rate))
    out.sum().backward()
    for module in (layer, head, spread):
        for name, p in module.named_parameters():
            assert p.grad is not None, name
            assert float(p.grad.abs().sum()) > 0, name


@pytest.mark.parametrize(("weight", "end"), [(0.4, 127.0), (-0.4, 0.0)])
def test_a_saturated_unit_recovers(weight: float, end: float) -> None:
    """A unit at the same end for every input is led back in, and never pushed further out."""
    layer = ExactLayer([(4, 3)], 1)
    trained = conv_of(layer).weight
    nn.init.constant_(trained, weight)
    x, rate = inputs("random", (2, 4, 6, 6)), RateVector(torch.tensor([300.0]))
    out = layer([x], rate)
    assert torch.equal(out, torch.full_like(out, end))
    wanted = 60.0
    (outwards,) = torch.autograd.grad((out * (wanted - end)).sum(), trained)
    assert not bool(outwards.any())
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(100):
        optimiser.zero_grad()
        (layer([x], rate) - wanted).square().mean().backward()
        optimiser.step()
    out = layer([x], rate).detach()
    assert 20 < float(out.mean()) < 100
    assert float(out.std()) > 1


@pytest.mark.parametrize("change", ["in place", "load", "replaced", "train"])
def test_folded_weights_follow_the_weights(change: str) -> None:
    conv = ExactConv2d(2, 2, 3, 8).eval()
    x = inputs("random", (1, 2, 5, 5))

    def run() -> Any:
        with torch.no_grad():
            return conv(x)

    run()
    other = ExactConv2d(2, 2, 3, 8)
    with torch.no_grad():
        if change == "in place":
            conv.weight.lerp_(other.weight, 1.0)
        elif change == "load":
            conv.load_state_dict(other.state_dict())
        elif change == "replaced":
            conv.weight.data = other.weight.data.clone()
            conv.eval()
        else:
            conv.train()
            conv.weight.copy_(other.weight)
            conv.eval()
        assert torch.equal(run(), other(x))


def test_rate_positions_cover_all_rates() -> None:
    table = torch.arange(ANCHORS, dtype=torch.float64)[:, None] * 2.0**22
    rates = torch.arange(RATE_MAX + 1)
    found = RateVector(rates).interpolate(table).flatten()
    assert found.tolist() == [min(r * 2**14, 2**24) for r in range(RATE_MAX + 1)]


def test_kept_biases_follow_rate_and_weights() -> None:
    bias = RateBias(3, 8)
    with torch.no_grad():
        bias.anchors.copy_(torch.arange(27.0).view(1, 9, 3))
        for rate in (0, 300, 0, RATE_MAX):
            vector = RateVector(torch.tensor([rate]))
            kept = bias(vector), bias.whole(vector)
            with torch.enable_grad():
                assert torch.equal(kept[0], bias(vector))
            assert torch.equal(kept[1], kept[0] * 256)
        bias.anchors.add_(1)
        assert torch.equal(bias(vector), kept[0] + 16)
