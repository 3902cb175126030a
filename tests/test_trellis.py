"""The encoder's search through the trellis, and the ideal cost of what it finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trellis_reference as reference
from torch import Tensor

from pliant.entropy import Encoder, Tables
from pliant.entropy.trellis import SEGMENT
from pliant.layers import loops, trellis
from pliant.layers.quantize import BITS_PER_SQUARED_STEP, choose_symbols, symbol_bits

TABLES = Tables.laplace()
LIMIT = 16383

Latents = tuple[Tensor, Tensor, Tensor]  # latents, means, indices


def tensor(values: np.ndarray) -> Tensor:
    """float32, channels last in memory."""
    return torch.from_numpy(values.astype(np.float32)).contiguous(memory_format=torch.channels_last)


def latents_of(shape: tuple[int, ...], low: int, high: int, seed: int = 0) -> Latents:
    """Laplacian latents around means on both sides of zero, below a step and above."""
    rng = np.random.default_rng(seed)
    index = rng.integers(low, high, shape)
    scale = 2 ** (index / 5 - 4.5)
    mean = np.clip(np.rint(16 * rng.laplace(0, 0.6 * np.maximum(scale, 0.2))), -4095, 4095)
    return tensor(mean / 8 + 2 * rng.laplace(0, scale)), tensor(mean), tensor(index)


def flat(x: Tensor) -> list[float]:
    """Of one picture, in the order of the file."""
    assert len(x) == 1
    values: list[float] = x.double().permute(0, 2, 3, 1).flatten().tolist()
    return values


def squared_error(y: Tensor, values: Tensor) -> float:
    """Summed over latents; values of one have their own place."""
    places = torch.where(values.abs() == 1, values * trellis.ONE, values).double()
    return float(((y.double() - places) ** 2).sum())


def cost(latents: Latents, values: Tensor, strength: float) -> float:
    """What the search minimises, in float64."""
    y, mean, index = latents
    rate = sum(reference.bits([int(v) for v in flat(values)], flat(mean), flat(index)))
    return strength * rate + trellis.PRICE * squared_error(y, values)


def values_on_the_trellis(count: int, seed: int) -> Tensor:
    """Small and large ones."""
    rng = np.random.default_rng(seed)
    y = rng.laplace(0, 1, count) * np.exp(rng.normal(0, 2, count))
    zeros = torch.zeros(1, 1, 1, count)
    return trellis.choose(tensor(y.reshape(zeros.shape)), zeros, zeros, 0.0, LIMIT)


def test_bits_equal_float64_reference() -> None:
    rng = np.random.default_rng(0)
    for low, high in ((-15, 16), (-40, 41), (-4095, 4096)):
        values = values_on_the_trellis(3000, seed=high)
        mean = torch.from_numpy(rng.integers(low, high, values.shape)).float()
        index = torch.from_numpy(rng.integers(0, 64, values.shape)).float()
        found = np.array(flat(trellis.bits(values, mean, index)))
        expected = reference.bits([int(v) for v in flat(values)], flat(mean), flat(index))
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_gradients_equal_finite_differences() -> None:
    values = values_on_the_trellis(3000, seed=1)
    rng = np.random.default_rng(1)
    mean = torch.from_numpy(rng.integers(-40, 41, values.shape) + 0.25).double().requires_grad_()
    index = torch.from_numpy(rng.uniform(0, 63, values.shape)).double().requires_grad_()
    total = trellis.bits(values, mean, index).sum()
    to_mean, to_index = torch.autograd.grad(total, (mean, index))
    h = 1e-4
    with torch.no_grad():
        by_mean = trellis.bits(values, mean + h, index) - trellis.bits(values, mean - h, index)
        by_index = trellis.bits(values, mean, index + h) - trellis.bits(values, mean, index - h)
    assert torch.allclose(to_mean, by_mean / (2 * h), atol=1e-4, rtol=1e-4)
    assert torch.allclose(to_index, by_index / (2 * h), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("low", "high"), [(0, 8), (3, 20), (15, 35), (35, 60)])
def test_the_estimate_equals_the_bytes(low: int, high: int) -> None:
    y, mean, index = latents_of((1, 9, 64, 64), low, high)
    values = trellis.choose(y, mean, index, 1.0, LIMIT)
    encoder = Encoder(TABLES)
    arrays = (x.permute(0, 2, 3, 1).flatten() for x in (values, index.byte(), mean.short()))
    symbols, scales, means = (x.numpy() for x in arrays)
    encoder.add(symbols, scales, means, on_trellis=True)
    real = 8 * len(encoder.finish(encoder.hash))
    estimate = float(trellis.bits(values, mean, index).double().sum())
    assert abs(real - estimate) <= 0.005 * estimate + 64


def compared(family: list[Latents], strength: float) -> tuple[np.ndarray, np.ndarray]:
    """What the search finds and the least cost, of each."""
    chosen = [trellis.choose(*latents, strength, LIMIT) for latents in family]
    found = [cost(latents, v, strength) for latents, v in zip(family, chosen, strict=True)]
    rows = [[flat(x) for x in latents] for latents in family]
    least = [reference.least_cost(y, m, i, strength, trellis.PRICE) for y, m, i in rows]
    return np.array(found), np.array(least)


@pytest.mark.parametrize(("low", "high"), [(0, 10), (5, 20), (15, 30), (25, 40)])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_search_finds_nearly_the_least_cost(low: int, high: int, strength: float) -> None:
    found, least = compared([latents_of((1, 3, 8, 10), low, high, s) for s in range(8)], strength)
    assert np.all(found >= least * (1 - 1e-6))
    assert np.all(found <= least * 1.01)
    assert found.sum() <= least.sum() * 1.001


@pytest.mark.parametrize("large", [0.0, 15000.0])
def test_no_strength_finds_the_nearest_values(large: float) -> None:
    """Also where latents are large: costs are summed in float32."""
    family = []
    for seed in range(4):
        y, mean, index = latents_of((1, 3, 8, 10), 0, 30, seed)
        family.append((y + large, mean, index))
    found, least = compared(family, 0.0)
    assert np.all(found >= least * (1 - 1e-5))
    assert found.sum() <= least.sum() * 1.002


@pytest.mark.parametrize("spread", [10.0, 300.0])
def test_granular_gain(spread: float) -> None:
    """Of the trellis over rounding at equal spacing; at high rate."""
    y = tensor(np.random.default_rng(0).normal(0, spread, (1, 4, 64, 128)))
    values = trellis.choose(y, torch.zeros_like(y), torch.zeros_like(y), 0.0, LIMIT)
    error = squared_error(y, values)
    rounding = float(((y - 2 * (y / 2).round()) ** 2).sum())
    assert 10 * np.log10(rounding / error) > 1.25


@pytest.mark.parametrize(("scale", "gain"), [(0.2, 0.045), (0.5, 0.07), (1, 0.06), (4, 0.04)])
def test_gain_over_rounding(scale: float, gain: float) -> None:
    """On a Laplacian source, at equal price of bits, as a share of the bits."""
    x = tensor(np.random.default_rng(0).laplace(0, scale, (1, 4, 64, 128)))
    zeros = torch.zeros_like(x)

    def index(b: float) -> Tensor:
        return torch.full_like(x, round(5 * (np.log2(b) + 4.5)))

    rounded = choose_symbols(x, zeros, index(scale), 1.0)
    rate = float(symbol_bits(rounded, zeros, index(scale)).sum())
    plain = rate + BITS_PER_SQUARED_STEP * float(((x - rounded) ** 2).sum())
    y, own = x / trellis.HALF_STEP, index(scale / trellis.STEP)
    values = trellis.choose(y, zeros, own, 1.0, LIMIT)
    found = float(trellis.bits(values, zeros, own).sum())
    found += trellis.PRICE * squared_error(y, values)
    assert plain - found > gain * rate


def test_layout_batch_and_types_do_not_matter() -> None:
    pair = latents_of((2, 6, 40, 33), 0, 40)
    together = trellis.choose(pair[0], pair[1], pair[2], 1.0, LIMIT)
    assert together.dtype == torch.int32
    rows = [x.contiguous() for x in pair]
    assert torch.equal(trellis.choose(rows[0], rows[1], rows[2], 1.0, LIMIT), together)
    small = pair[0], pair[1].short(), pair[2].byte()
    assert torch.equal(trellis.choose(*small, 1.0, LIMIT), together)
    bits = trellis.bits(together, pair[1], pair[2])
    for b in range(2):
        y, mean, index = (x[b : b + 1] for x in pair)
        assert torch.equal(trellis.choose(y, mean, index, 1.0, LIMIT), together[b : b + 1])
        alone = trellis.bits(together[b : b + 1], mean, index)
        torch.testing.assert_close(alone, bits[b : b + 1])


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_and_segments_share_the_work(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    y, mean, index = latents_of((2, 1, 1, 16 * SEGMENT + 3 * SEGMENT + 77), 0, 40)
    expected = trellis.choose(y, mean, index, 1.0, LIMIT)
    costs = trellis.bits(expected, mean, index)
    monkeypatch.setattr(loops, "SMALLEST", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert torch.equal(trellis.choose(y, mean, index, 1.0, LIMIT), expected)
    assert torch.equal(trellis.bits(expected, mean, index), costs)
    for start in (0, SEGMENT, 15 * SEGMENT, 16 * SEGMENT, 19 * SEGMENT):
        part = slice(start, start + SEGMENT)
        alone = trellis.choose(y[..., part], mean[..., part], index[..., part], 1.0, LIMIT)
        assert torch.equal(alone, expected[..., part])


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("count", [1, 2, 3, SEGMENT - 1, SEGMENT + 1, 20 * SEGMENT + 5])
def test_values_are_on_the_trellis(strength: float, count: int) -> None:
    latents = latents_of((1, 1, 1, count), 0, 50, seed=count)
    values = trellis.choose(*latents, strength, LIMIT)
    assert reference.states([int(v) for v in flat(values)])[0] == 0
    assert float((values - latents[0]).abs().max()) < (3 if strength == 0 else 12)


@pytest.mark.parametrize("strength", [0.0, 1.0])
@pytest.mark.parametrize("limit", [100, LIMIT, 32767])
def test_the_limit_is_respected(strength: float, limit: int) -> None:
    rng = np.random.default_rng(0)
    y = tensor(rng.choice([-1e30, -1e6, 0, 1, 1e6], (1, 3, 8, 8)))
    mean = tensor(rng.choice([-700, -3, 0, 9, 700], y.shape))
    for index in (0.0, 63.0):
        values = trellis.choose(y, mean, torch.full_like(y, index), strength, limit)
        reference.states([int(v) for v in flat(values)])
        assert limit - 10 < int(values.abs().max()) <= limit
        assert torch.equal(values.sign()[y.abs() > 10], y.sign()[y.abs() > 10].int())
