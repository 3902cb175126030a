"""The exact layers against a slow integer reference, their bounds, and their gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from pliant.errors import MissingError
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
    compand,
    log2_fixed,
    log_index,
    requantise,
    round_clamp,
    signed_planes,
    to_grid,
)
from pliant.models.weights import check_bounds
from pliant.units import ANCHORS, RATE_MAX, RATE_UNIT

Integers = npt.NDArray[np.int64]
RATES = (0, 1, 255, 256, 300, 1023, RATE_MAX)


def convolution(x: Integers, weight: Integers) -> Integers:
    """Zero-padded correlation of (B, C, H, W) with (O, C, k, k), term by term in 64-bit integers."""
    reach = weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    height, width = x.shape[2:]
    out = np.zeros((len(x), len(weight), height, width), np.int64)
    for o, c in itertools.product(range(len(weight)), range(x.shape[1])):
        for i, j in itertools.product(range(weight.shape[2]), repeat=2):
            out[:, o] += int(weight[o, c, i, j]) * padded[:, c, i : i + height, j : j + width]
    return out


def half_even(numerator: Integers, bits: int) -> Integers:
    """numerator / 2**bits, rounded half to even, by shifts."""
    odd = (numerator >> bits) & 1
    result: Integers = (numerator + (1 << bits - 1) - 1 + odd) >> bits
    return result


def integers(x: Tensor, unit: float = 1.0) -> Integers:
    values = x.detach().double().numpy() * unit
    assert np.array_equal(values, np.round(values))
    return values.astype(np.int64)


def interpolated(bias: RateBias, variant: int, rate: int) -> Integers:
    """The bias of one rate by integer arithmetic: anchors to halves of even, then interpolation."""
    table = np.array(
        [[round(float(v) * 16 * 2**bias.shift) for v in row] for row in bias.anchors[variant]],
        np.int64,
    )
    anchor, position = divmod(rate, RATE_UNIT)
    return half_even(table[anchor] * (RATE_UNIT - position) + table[anchor + 1] * position, 8)


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
    sums = 2 * convolution(integers(first), integers(layer.convs[0].folded(), 2**7))
    sums += convolution(integers(second), integers(layer.convs[1].folded(), 2**8))
    bias = np.stack([interpolated(layer.bias, 1, r) for r in rates])[:, :, None, None]
    assert np.array_equal(integers(out), half_even(sums + bias, 8).clip(0, 127))


@torch.no_grad()
def test_long_sums_near_the_bound_are_exact() -> None:
    layer = ExactLayer([(112, 3)], 3).eval()
    layer.convs[0].weight.copy_(torch.where(torch.rand(3, 112, 3, 3) < 0.5, 1.0, -1.0))
    assert 0.95 * EXACT_SUM < layer.worst_sum() < EXACT_SUM
    x = (layer.convs[0].weight[:1] > 0) * 127.0  # the very input that reaches the bound
    out = layer.sums([x])
    assert np.array_equal(
        integers(out, 256), convolution(integers(x), integers(layer.convs[0].folded(), 256))
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


def too_heavy(kind: str) -> nn.Module:
    if kind == "layer":
        layer = ExactLayer([(200, 3)], 2)
        nn.init.constant_(layer.convs[0].weight, 0.5)
        return layer
    if kind == "1x1 layer, whose bias has a finer unit":
        layer = ExactLayer([(600, 1)], 2)
        nn.init.constant_(layer.convs[0].weight, 1.0)
        assert layer.convs[0].worst_sum() < EXACT_SUM  # in its own units all is well
        return layer
    if kind == "bias":
        layer = ExactLayer([(100, 3)], 2)
        nn.init.constant_(layer.convs[0].weight, 0.5)
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
    nn.init.constant_(layer.convs[0].weight, float("nan"))
    with pytest.raises(MissingError, match="overflow"):
        check_bounds(layer)


def test_log2_fixed_is_piecewise_linear_and_rounds_down() -> None:
    m = np.concatenate([np.arange(1, 5000), 2 ** np.arange(24), 2 ** np.arange(1, 25) - 1])
    exponent = np.array([int(v).bit_length() - 1 for v in m])
    for bits in (4, 7):
        expected = (exponent << bits) + (((m - (1 << exponent)) << bits) >> exponent)
        found = log2_fixed(torch.from_numpy(m.astype(np.float32)), bits).numpy()
        assert np.array_equal(found, expected)
    index = log_index(torch.from_numpy(m.astype(np.float32))).numpy()
    exact = (exponent << 7) + (((m - (1 << exponent)) << 7) >> exponent)
    assert np.array_equal(index, exact * 5 // 8)
    # the chord of the logarithm is at most 0.086 octaves below it, and two roundings follow
    assert np.abs(index - 80 * np.log2(m)).max() < 80 * 0.0861 + 2


def test_compand_and_signed_planes() -> None:
    x = torch.tensor([0.0, 1, -1, 3, 240, -255, 40000]).view(1, 7, 1, 1)
    expected = [[0, 16, 0, 32, 126, 0, 127], [0, 0, 16, 0, 0, 127, 0]]
    assert signed_planes(x, torch.float32).flatten().tolist() == [*expected[0], *expected[1]]
    every = compand(torch.arange(70000.0))
    assert bool((every.diff() >= 0).all())
    assert float(every.max()) == 127


def test_rounding_is_half_to_even() -> None:
    halves = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5, 126.5, 127.5, 9999.0])
    zero = torch.zeros(1, 1, 1, 1)
    expected = [0, 0, 0, 2, 2, 126, 127, 127]
    with torch.no_grad():
        assert requantise(halves.view(1, 1, 1, -1).clone(), zero).flatten().tolist() == expected
    assert requantise(halves.view(1, 1, 1, -1).clone(), zero).flatten().tolist() == expected
    assert round_clamp(halves, -1, 126).tolist() == [-1, 0, 0, 2, 2, 126, 126, 126]
    assert (to_grid(halves / 4, 2, 3) * 4).tolist() == [-2, 0, 0, 2, 2, 3, 3, 3]


def test_gradients_pass_straight_through() -> None:
    x = torch.tensor([-5.0, 0.4, 3.3, 500.0], requires_grad=True)
    for function in (lambda v: round_clamp(v, 0, 100), lambda v: to_grid(v, 3, 127)):
        assert torch.autograd.grad(function(x).sum(), x)[0].tolist() == [1, 1, 1, 1]
    total = x.view(1, 1, 1, 4)
    bias = torch.zeros(1, 1, 1, 1, requires_grad=True)
    to_total, to_bias = torch.autograd.grad(requantise(total, bias).sum(), (x, bias))
    assert to_total.tolist() == [
        0,
        0,
        1,
        0,
    ]  # cut at the lower bound, 0.4 becomes 0 there, and above
    assert to_bias.tolist() == [[[[1]]]]
    m = torch.tensor([1.0, 64.0], requires_grad=True)
    slope = torch.autograd.grad(log_index(m).sum(), m)[0]
    assert torch.allclose(slope, 80 / (np.log(2) * m.detach()))


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
