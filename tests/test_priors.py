"""Every prior under the three drivers: bits, write and read agree, and none looks ahead."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trellis_reference
from small_priors import MAKERS, SIZE, latents_of, make, steps_of, vector
from torch import Tensor

from pliant.entropy import Tables, reference
from pliant.errors import DamagedError
from pliant.layers import int8, loops
from pliant.layers.exact import RateVector
from pliant.priors import walk
from pliant.priors.walk import Prior, Step
from pliant.units import ANCHORS, RATE_MAX

TABLES = Tables.laplace()

every_prior = pytest.mark.parametrize("name", MAKERS)


@every_prior
@pytest.mark.parametrize("rate", [0, 1000, RATE_MAX])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_read_returns_what_write_chose(name: str, rate: int, strength: float) -> None:
    prior, _ = make(name)
    latents = latents_of(name, spread=20.0 if rate == 0 else 2.0)
    data = walk.write(prior, latents, SIZE, vector(rate), TABLES, strength)
    found = walk.read(prior, data, SIZE, vector(rate), TABLES)
    assert [y.shape for y in found] == [y.shape for y in latents]
    with torch.no_grad():
        _, chosen = walk.bits(prior, latents, SIZE, vector(rate), strength)
    symbols = prior.split(found)
    assert all(torch.equal(a, b) for a, b in zip(symbols, chosen, strict=True))
    steps = steps_of(prior, chosen, vector(rate))
    assert any(step.on_trellis for step in steps) == (name == "pyramid")
    for y, q, step in zip(prior.split(latents), symbols, steps, strict=True):
        most = (2.0, 3.8) if step.on_trellis else (0.5, 1.5)  # half-steps, steps
        assert float((y - q).abs().max()) <= most[strength > 0]


def test_work_that_is_done_while_reading_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, _ = make("pyramid")
    latents = latents_of("pyramid", spread=2.0)
    data = walk.write(prior, latents, SIZE, vector(1000), TABLES, 1.0)
    in_turn = walk.read(prior, data, SIZE, vector(1000), TABLES)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(loops, "SMALLEST", 1)
    beside, ahead = walk._beside, []
    monkeypatch.setattr(walk, "_beside", lambda w, t: ahead.append(w) or beside(w, t))
    found = walk.read(prior, data, SIZE, vector(1000), TABLES)
    assert len(ahead) > 5
    assert all(torch.equal(a, b) for a, b in zip(found, in_turn, strict=True))
    with pytest.raises(DamagedError):
        walk.read(prior, data[:-8], SIZE, vector(1000), TABLES)


def flat(x: Tensor) -> list[float]:
    """(1, C, H, W) in the order of the file."""
    values: list[float] = x.permute(0, 2, 3, 1).flatten().tolist()
    return values


def on_the_trellis(drawn: Tensor, mean: Tensor) -> Tensor:
    """Values whose cells hold the numbers drawn."""
    values = torch.tensor(trellis_reference.nearest(flat(drawn), flat(mean))).float()
    batch, channels, height, width = drawn.shape
    return values.view(batch, height, width, channels).permute(0, 3, 1, 2)


def table_bits(symbols: Tensor, step: Step) -> float:
    """What the symbols of a step cost by the tables."""
    arrays = (symbols.int(), step.index.byte(), step.mean.short())
    if not step.on_trellis:
        return float(TABLES.bits(*(a.numpy() for a in arrays)).sum())
    encoder = reference.Encoder(TABLES)
    values, scales, means = ([int(x) for x in flat(a)] for a in arrays)
    encoder.add(values, scales, means, on_trellis=True)
    return sum(16 - math.log2(count) for _, count in encoder.codes)


@torch.no_grad()
def sampled(prior: Prior, rate: RateVector, seed: int) -> tuple[list[Tensor], list[Step]]:
    """Symbols drawn from what the prior itself believes, and its steps."""
    rng = np.random.default_rng(seed)
    schedule = prior.schedule(SIZE, rate)
    steps, parts = [next(schedule)], []
    while True:
        step = steps[-1]
        noise = torch.from_numpy(rng.laplace(size=step.index.shape)).float()
        drawn = noise * 2 ** (step.index / 5 - 4.5) + step.mean / 16
        parts.append(on_the_trellis(drawn, step.mean) if step.on_trellis else drawn.round())
        try:
            steps.append(schedule.send(parts[-1]))
        except StopIteration:
            return parts, steps


@every_prior
@pytest.mark.parametrize("rate", [0, 900, RATE_MAX])
def test_estimates_equal_the_bytes(name: str, rate: int) -> None:
    prior, _ = make(name)
    parts, steps = sampled(prior, vector(rate), rate)
    latents = prior.merge(parts, SIZE)
    real = 8 * len(walk.write(prior, latents, SIZE, vector(rate), TABLES, 0.0))
    exact = sum(table_bits(symbols, step) for symbols, step in zip(parts, steps, strict=True))
    assert abs(real - exact) <= 0.001 * exact + 64
    with torch.no_grad():
        estimate = float(walk.bits(prior, latents, SIZE, vector(rate), 0.0)[0])
    assert abs(real - estimate) <= 0.005 * estimate + 64


@every_prior
def test_bytes_of_unlikely_symbols_stay_below_the_estimate(name: str) -> None:
    """Escapes: the coder pays less for what the prior did not expect than a Laplacian would."""
    prior, _ = make(name)
    latents = latents_of(name, spread=30.0)
    real = 8 * len(walk.write(prior, latents, SIZE, vector(900), TABLES, 0.0))
    with torch.no_grad():
        estimate = float(walk.bits(prior, latents, SIZE, vector(900), 0.0)[0])
    assert real <= 1.005 * estimate + 64


@every_prior
def test_merge_inverts_split(name: str) -> None:
    prior, _ = make(name)
    latents = latents_of(name, batch=2)
    parts = prior.split(latents)
    assert sum(p.numel() for p in parts) == sum(y.numel() for y in latents)
    again = prior.merge(parts, SIZE)
    assert all(torch.equal(a, b) for a, b in zip(again, latents, strict=True))


@every_prior
def test_steps_do_not_depend_on_future_symbols(name: str) -> None:
    prior, _ = make(name)
    parts = [p.round() for p in prior.split(latents_of(name))]
    steps = steps_of(prior, parts, vector(500))
    for known in {1, len(parts) // 2, len(parts) - 1} - {0}:
        other = [*parts[:known], *(p * -3 + 1 for p in parts[known:])]
        for a, b in zip(steps[: known + 1], steps_of(prior, other, vector(500)), strict=False):
            assert torch.equal(a.index, b.index)
            assert torch.equal(a.mean, b.mean)


@every_prior
def test_steps_are_integers_in_range(name: str) -> None:
    prior, _ = make(name)
    for factor in (1, 30000):
        parts = [(p * factor).round().clamp(-32767, 32767) for p in prior.split(latents_of(name))]
        for step in steps_of(prior, parts, vector(RATE_MAX)):
            assert step.index.dtype == step.mean.dtype == torch.float32
            assert torch.equal(step.index, step.index.round().clamp(0, 63))
            centre, mean = step.centred()
            assert torch.equal(mean, mean.round().clamp(-32767, 32767))
            assert torch.equal(step.mean, 16 * centre + mean)


@every_prior
def test_every_parameter_learns(name: str) -> None:
    prior, module = make(name)
    module.train()
    total = torch.zeros(())
    for seed, rates in enumerate([(0, 700), (1100, 1500), (1900, RATE_MAX)]):
        # zeros among the symbols keep activations inside their range
        latents = latents_of(name, batch=2, seed=seed, spread=0.7)
        total = total + walk.bits(prior, latents, SIZE, vector(*rates), 1.0)[0].sum()
    total.backward()
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None, key
        assert bool(torch.isfinite(parameter.grad).all()), key
        if parameter.shape[:2] != (1, ANCHORS):
            assert float(parameter.grad.abs().sum()) > 0, key
        else:
            assert float(parameter.grad[:, :-1].abs().sum()) > 0, key


@every_prior
def test_a_batch_equals_single_pictures(name: str) -> None:
    prior, _ = make(name)
    rates = (0, 801, RATE_MAX)
    parts = [p.round() for p in prior.split(latents_of(name, batch=3))]
    together = steps_of(prior, parts, vector(*rates))
    for b, rate in enumerate(rates):
        alone = steps_of(prior, [p[b : b + 1] for p in parts], vector(rate))
        for a, t in zip(alone, together, strict=True):
            assert torch.equal(a.index, t.index[b : b + 1])
            assert torch.equal(a.mean, t.mean[b : b + 1])


@pytest.mark.skipif(not int8.available(), reason="no int8 kernels")
@pytest.mark.parametrize("rates", [(0,), (900,), (5, 1300, RATE_MAX)])
@every_prior
def test_int8_kernels_give_the_same_steps(name: str, rates: tuple[int, ...]) -> None:
    prior, module = make(name)
    parts = [p.round() for p in prior.split(latents_of(name, batch=len(rates), spread=9.0))]
    expected = steps_of(prior, parts, vector(*rates))
    module.dtype = torch.uint8  # type: ignore[assignment]
    for a, b in zip(steps_of(prior, parts, vector(*rates)), expected, strict=True):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.mean, b.mean)


@pytest.mark.skipif(not int8.available(), reason="no int8 kernels")
@every_prior
def test_int8_kernels_write_the_same_bytes(name: str) -> None:
    prior, module = make(name)
    latents = latents_of(name)
    data = walk.write(prior, latents, SIZE, vector(700), TABLES, 1.0)
    expected = walk.read(prior, data, SIZE, vector(700), TABLES)
    module.dtype = torch.uint8  # type: ignore[assignment]
    assert walk.write(prior, latents, SIZE, vector(700), TABLES, 1.0) == data
    found = walk.read(prior, data, SIZE, vector(700), TABLES)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@every_prior
def test_training_reduces_the_cost(name: str) -> None:
    prior, module = make(name)
    module.train()
    latents = latents_of(name, batch=2, spread=0.1)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.003)
    costs = []
    for _ in range(25):
        cost = walk.bits(prior, latents, SIZE, vector(400, 1600), 1.0)[0].sum()
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()
        costs.append(float(cost.detach()))
    assert costs[-1] < 0.99 * costs[0]
    assert np.isfinite(costs).all()


@every_prior
def test_other_weights_or_a_damaged_stream_are_noticed(name: str) -> None:
    prior, _ = make(name)
    data = walk.write(prior, latents_of(name), SIZE, vector(600), TABLES, 1.0)
    other, module = make(name)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3)
    with pytest.raises(DamagedError):
        walk.read(other, data, SIZE, vector(600), TABLES)
    broken = bytearray(data)
    broken[len(broken) // 2] ^= 4
    with pytest.raises(DamagedError):
        walk.read(prior, bytes(broken), SIZE, vector(600), TABLES)
    with pytest.raises(DamagedError):
        walk.read(prior, data[:-4], SIZE, vector(600), TABLES)


@pytest.mark.parametrize("size", [(64, 64), (64, 256), (192, 64), (320, 64)])
def test_smallest_pictures_of_the_pyramid(size: tuple[int, int]) -> None:
    prior, _ = make("pyramid")
    generator = torch.Generator().manual_seed(1)
    latents = [
        torch.randn((1, c, size[0] // f, size[1] // f), generator=generator) * 3
        for c, f in MAKERS["pyramid"][1]
    ]
    data = walk.write(prior, latents, size, vector(600), TABLES, 0.0)
    found = walk.read(prior, data, size, vector(600), TABLES)
    with torch.no_grad():
        _, chosen = walk.bits(prior, latents, size, vector(600), 0.0)
    for y, q, expected in zip(latents, found, prior.merge(chosen, size), strict=True):
        assert torch.equal(q, expected)
        assert float((y - q).abs().max()) <= 2


def test_scale_hyperprior_has_no_means() -> None:
    prior, _ = make("scale hyperprior")
    parts = [(p * 20).round() for p in prior.split(latents_of("hyperprior"))]
    step = steps_of(prior, parts, vector(9))[-1]
    assert not bool(step.mean.any())
    assert len(step.index.unique()) > 1


def test_a_schedule_shorter_than_its_latents_is_an_error() -> None:
    prior, _ = make("factorized")
    latents = latents_of("factorized") * 2
    with pytest.raises(ValueError, match="ended before"):
        walk.write(prior, latents, SIZE, vector(9), TABLES, 0.0)
