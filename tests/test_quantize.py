"""Steps, the estimate of the cost, and rate-distortion-optimised rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from trellis_reference import laplace_bits as float64_bits

from pliant.entropy import Tables
from pliant.layers import loops
from pliant.layers.exact import RateVector
from pliant.layers.quantize import (
    BITS_PER_SQUARED_STEP,
    SCALES,
    Gains,
    Points,
    choose_symbols,
    laplace_bits,
    step_size,
    symbol_bits,
)
from pliant.models.blocks import to_pixels
from pliant.units import ANCHORS, RATE_MAX, RATE_UNIT

TABLES = Tables.laplace()
GRID = torch.cartesian_prod(
    torch.arange(-40.0, 41), torch.tensor([-200.0, -8, -3, 0, 5, 8, 47]), torch.arange(0.0, SCALES)
)


def reference_bits(q: float, mean: float, index: float) -> float:
    """-log2 of the mass of a Laplacian in [q - 1/2, q + 1/2], in float64, no difference cancels."""
    scale = 2 ** (index / 5 - 4.5)
    delta = abs(q - mean / 16)
    if delta < 0.5:
        outside = math.exp(-(0.5 - delta) / scale) + math.exp(-(0.5 + delta) / scale)
        return -math.log2(1 - 0.5 * outside)
    nats = (delta - 0.5) / scale - math.log(0.5) - math.log(-math.expm1(-1 / scale))
    return nats / math.log(2)


def test_bits_equal_float64_reference() -> None:
    found = symbol_bits(*GRID.unbind(1)).double().numpy()
    expected = np.array([reference_bits(*row) for row in GRID.tolist()])
    assert np.abs(found - expected).max() < 2e-3
    assert (np.abs(found - expected) / np.maximum(expected, 1e-2)).max() < 2e-3


def test_bits_between_any_bounds_equal_float64_reference() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(-30, 30, 4000) / 4
    high = low + rng.integers(1, 9, low.size) / 4
    mean, index = rng.integers(-100, 100, low.size), rng.integers(0, SCALES, low.size)
    arguments = (torch.from_numpy(x).float() for x in (low, high, mean, index))
    found = laplace_bits(*arguments).double().numpy()
    rows = zip(low - mean / 16, high - mean / 16, 2 ** (index / 5 - 4.5), strict=True)
    expected = [float64_bits(*row) for row in rows]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_bits_equal_the_tables_cost() -> None:
    q, mean, index = GRID.unbind(1)
    estimate = symbol_bits(q, mean, index).double().numpy()
    cost = TABLES.bits(
        q.numpy().astype(np.int32), index.numpy().astype(np.uint8), mean.numpy().astype(np.int16)
    )
    likely = estimate < 10  # far out the tables escape, which costs a little more or less
    assert np.abs(cost - estimate)[likely].max() < 0.35
    for i in range(SCALES):
        chosen = likely & (index.numpy() == i)
        weight = np.exp2(-estimate[chosen])
        extra = float((weight * (cost - estimate)[chosen]).sum() / weight.sum())
        assert abs(extra) < 0.012, i


def test_gradients_equal_finite_differences() -> None:
    q, mean, index = (GRID[::37].double().T).clone()
    mean = mean + 0.25  # not at the corner where the gradient jumps
    mean.requires_grad_()
    index.requires_grad_()
    total = symbol_bits(q, mean, index).sum()
    to_mean, to_index = torch.autograd.grad(total, (mean, index))
    h = 1e-4
    with torch.no_grad():
        by_mean = symbol_bits(q, mean + h, index) - symbol_bits(q, mean - h, index)
        by_index = symbol_bits(q, mean, index + h) - symbol_bits(q, mean, index - h)
    assert torch.allclose(to_mean, by_mean / (2 * h), atol=1e-4, rtol=1e-4)
    assert torch.allclose(to_index, by_index / (2 * h), atol=1e-4, rtol=1e-4)


def candidates(y: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest integer, and the next one toward the mean where that is nearer to it."""
    nearest = y.round()
    away = nearest - mean / 16
    return nearest, torch.where(away.abs() > 0.5, nearest - away.sign(), nearest)


@pytest.mark.parametrize("strength", [0.3, 1.0, 2.0])
def test_choice_is_the_better_candidate(strength: float) -> None:
    generator = torch.Generator().manual_seed(1)
    n = 4000
    y = torch.randn(n, generator=generator) * torch.exp(torch.rand(n, generator=generator) * 6 - 2)
    mean = torch.randint(-64, 65, (n,), generator=generator).float()
    index = torch.randint(0, SCALES, (n,), generator=generator).float()
    chosen = choose_symbols(y, mean, index, strength)
    options = torch.stack(candidates(y, mean))
    bits = torch.tensor(
        [[reference_bits(*row) for row in zip(o, mean, index, strict=True)] for o in options]
    )
    cost = bits + BITS_PER_SQUARED_STEP / strength * (y - options) ** 2
    found = torch.where(chosen == options[0], cost[0], cost[1])
    assert bool(((chosen == options[0]) | (chosen == options[1])).all())
    assert float((found - cost.min(0).values).max()) < 1e-2
    assert 0.01 < float((chosen != options[0]).float().mean()) < 0.5


def test_no_strength_rounds_plainly() -> None:
    y = torch.tensor([-1.5, -0.5, 0.49, 0.5, 7.6])
    zero = torch.zeros(5)
    assert choose_symbols(y, zero, zero, 0).tolist() == [-2, 0, 0, 0, 8]


def test_choice_is_finite_at_the_extremes() -> None:
    y = torch.tensor([1e6, -1e6, 0.0, 1e-30])
    for index in (0.0, 63.0):
        chosen = choose_symbols(y, torch.zeros(4), torch.full((4,), index), 1.0)
        assert bool(torch.isfinite(chosen).all())
        assert float((chosen - y).abs().max()) <= 1


def test_steps_are_geometric_and_gains_interpolate() -> None:
    rates = torch.tensor([0, 128, 256, 1000, RATE_MAX])
    steps = step_size(rates)
    assert torch.allclose(steps, 2 ** (0.75 + rates / RATE_UNIT))
    gains = Gains([3, 9], [Points(), Points(0.75)])
    with torch.no_grad():
        gains.offsets[1].copy_(torch.arange(ANCHORS * 9.0).view(ANCHORS, 9) / 50)
    first, second = gains.steps(RateVector(rates))
    assert first.shape == (5, 3, 1, 1)
    assert torch.allclose(first[:, :, 0, 0], steps[:, None].expand(5, 3))
    offset = torch.log2(second[:, :, 0, 0] / (0.75 * steps[:, None]))
    expected = (rates[:, None] / RATE_UNIT * 9 + torch.arange(9)) / 50
    assert torch.allclose(offset, expected, atol=1e-5)


@pytest.mark.parametrize("one", [1.0, 1.2])
@pytest.mark.parametrize("threads", [1, 3])
def test_symbols_of_one_have_their_own_place(
    monkeypatch: pytest.MonkeyPatch, one: float, threads: int
) -> None:
    monkeypatch.setattr(loops, "SMALLEST", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    gains = Gains([3, 9], [Points(2.0), Points(0.65, one)])
    rate = RateVector(torch.tensor([0, 1000]))
    rng = np.random.default_rng(0)
    shapes = [(2, 3, 4, 5), (2, 9, 8, 10)]
    symbols = [torch.from_numpy(rng.integers(-3, 4, shape)).int() for shape in shapes]
    with torch.no_grad():
        gains.offsets[1].copy_(torch.from_numpy(rng.normal(size=(ANCHORS, 9))))
    found = gains.dequantise(symbols, rate)  # with gradients: torch operations
    first, second = (x.detach() for x in gains.steps(rate))
    assert torch.equal(found[0], symbols[0] * first)
    places = torch.tensor([-3, -2, -one, 0, one, 2, 3])[symbols[1].long() + 3]
    torch.testing.assert_close(found[1], places * second)
    with torch.no_grad():
        compiled = gains.dequantise(symbols, rate)
        rows = [q.contiguous(memory_format=torch.channels_last) for q in symbols]
        again = gains.dequantise(rows, rate)
    for a, b, c in zip(found, compiled, again, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_rounded_alike_by_torch_and_the_loop(channels: int) -> None:
    image = torch.rand(1, 3, 20, 33, generator=torch.Generator().manual_seed(1)) * 300 - 20
    image[0, :, 0, :3] = torch.tensor([0.5, 1.5, 254.5])
    by_torch = to_pixels(image, 17, 30, channels)
    with torch.no_grad():
        np.testing.assert_array_equal(to_pixels(image, 17, 30, channels), by_torch)
    assert by_torch.shape == (17, 30, channels)
    assert by_torch[0, :3, 0].tolist() == [0, 2, 254]
