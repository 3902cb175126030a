"""Steps, the estimate of the cost, and rate-distortion-optimised rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pliant.entropy import Tables
from pliant.layers import loops
from pliant.layers.exact import RateVector
from pliant.layers.quantize import (
    BITS_PER_SQUARED_STEP,
    SCALES,
    Gains,
    choose_integers,
    choose_symbols,
    laplace_bits,
    step_size,
)
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
    found = laplace_bits(*GRID.unbind(1)).double().numpy()
    expected = np.array([reference_bits(*row) for row in GRID.tolist()])
    assert np.abs(found - expected).max() < 2e-3
    assert (np.abs(found - expected) / np.maximum(expected, 1e-2)).max() < 2e-3


def test_bits_equal_the_tables_cost() -> None:
    q, mean, index = GRID.unbind(1)
    estimate = laplace_bits(q, mean, index).double().numpy()
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
    total = laplace_bits(q, mean, index).sum()
    to_mean, to_index = torch.autograd.grad(total, (mean, index))
    h = 1e-4
    with torch.no_grad():
        by_mean = laplace_bits(q, mean + h, index) - laplace_bits(q, mean - h, index)
        by_index = laplace_bits(q, mean, index + h) - laplace_bits(q, mean, index - h)
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


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("threads", [1, 3])
def test_compiled_choice_is_the_same(
    monkeypatch: pytest.MonkeyPatch, strength: float, threads: int
) -> None:
    monkeypatch.setattr(loops, "_SMALLEST", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(2)
    shape = (1, 7, 33, 65)
    spread = torch.exp(torch.rand(shape, generator=generator) * 12 - 2)
    y = torch.randn(shape, generator=generator) * spread
    mean = torch.randint(-4095, 4096, shape, generator=generator)
    mean = torch.where(torch.rand(shape, generator=generator) < 0.8, mean // 128, mean)
    y = torch.where(y.abs() < 40, y + mean / 16, y)
    index = torch.randint(0, SCALES, shape, generator=generator)
    y, mean, index = (x.contiguous(memory_format=torch.channels_last) for x in (y, mean, index))
    expected = choose_symbols(y, mean.float(), index.float(), strength).clamp(-16383, 16383)
    found = choose_integers(y, mean.short(), index.byte(), strength, 16383)
    assert found.dtype == torch.int32
    assert torch.equal(found.float(), expected)
    assert strength == 0 or not torch.equal(expected, y.round().clamp(-16383, 16383))


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
    gains = Gains([3, 9])
    with torch.no_grad():
        gains.offsets[1].copy_(torch.arange(ANCHORS * 9.0).view(ANCHORS, 9) / 50)
    first, second = gains.steps(RateVector(rates))
    assert first.shape == (5, 3, 1, 1)
    assert torch.allclose(first[:, :, 0, 0], steps[:, None].expand(5, 3))
    offset = torch.log2(second[:, :, 0, 0] / steps[:, None])
    expected = (rates[:, None] / RATE_UNIT * 9 + torch.arange(9)) / 50
    assert torch.allclose(offset, expected, atol=1e-5)
