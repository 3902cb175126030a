"""Variable-rate models: gains, files at every rate, estimate and coded bits, where they start."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_vbr import EVERY, ORDERED, PUBLISHED, SYSTEMS, config, loaded, make
from small_zoo import make as make_base
from torch import Tensor

from pliant import container, tiles
from pliant.codec import Codec
from pliant.errors import DamagedError
from pliant.layers.exact import RateVector
from pliant.layers.variable import LEAST_GAIN, WEIGHTS, gain_of, level_gains, rate_of
from pliant.models import weights
from pliant.models.variable_rate import VariableRateModel
from pliant.priors import walk
from pliant.units import RATE_MAX

every_model = pytest.mark.parametrize("name", EVERY)
# the levels, and two between them
RATES = [*(rate_of(g) for g in level_gains()), 100, 1333]


def vector(rate: float, batch: int = 1) -> RateVector:
    return RateVector(torch.full((batch,), float(rate), dtype=torch.float64))


def picture(pixels: Any) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()


def quality(rate: int) -> float:
    return 100 * (1 - rate / RATE_MAX)


def test_gains_follow_from_the_published_weights() -> None:
    published = [10.0, 7.1715, 5.1832, 3.7211, 2.6833, 1.9305, 1.3897, 1.0]
    assert [1 / g for g in level_gains()] == pytest.approx(published, rel=3e-5)
    gains = [0.1, 0.13944, 0.19293, 0.26874, 0.37268, 0.51801, 0.71957, 1.0]
    assert level_gains() == pytest.approx(gains, abs=1e-5)
    assert [g * g * WEIGHTS[-1] for g in level_gains()] == pytest.approx(WEIGHTS)


def test_gains_are_geometric_in_the_rate_parameter() -> None:
    rates = torch.tensor([0, RATE_MAX // 2, RATE_MAX])
    gains = gain_of(rates)
    assert float(gains[0]) == 1
    assert float(gains[2]) == pytest.approx(LEAST_GAIN, rel=1e-12)
    assert float(gains[1]) == pytest.approx(LEAST_GAIN ** (1023 / 2047), rel=1e-12)
    for gain in (1.0, 0.5, 0.2345, 0.1):
        assert float(gain_of(torch.tensor(rate_of(gain)))) == pytest.approx(gain, rel=6e-4)


@every_model
def test_files_at_every_rate(name: str, photo: Any) -> None:
    codec = Codec(loaded(name))
    sizes = []
    for rate in sorted(RATES)[:: 3 if name == "joint" else 1]:
        data = codec.encode(photo[:65, :127], quality=quality(rate))
        header = container.read(data).header
        assert (header.rate, header.portable) == (rate, name not in PUBLISHED)
        decoded = codec.decode(data).pixels
        with torch.no_grad():
            image = codec.model.pad(picture(photo[:65, :127]))
            _, expected = codec.model.round_trip(image, vector(rate), 0.0)
        inside = expected[0, :, :65, :127].permute(1, 2, 0).round().clamp(0, 255).numpy()
        assert np.abs(decoded.astype(float) - inside).max() <= 1
        assert codec.encode(photo[:65, :127], quality=quality(rate)) == data
        sizes.append(len(data))
    if name in ORDERED:
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > 3 * sizes[-1]


@every_model
@pytest.mark.parametrize("size", [(1, 1), (3, 130)])
def test_odd_sizes(name: str, size: tuple[int, int], photo: Any) -> None:
    codec = Codec(loaded(name))
    pixels = photo[: size[0], : size[1]]
    assert codec.decode(codec.encode(pixels, quality=30)).pixels.shape == pixels.shape


@every_model
@pytest.mark.parametrize("rate", [0, 700, 1400, RATE_MAX])
def test_estimate_equals_the_coded_bits(name: str, rate: int, photo: Any) -> None:
    """The side latent's bins are as wide as its step: in the estimate too."""
    codec = Codec(loaded(name))
    pixels = photo[:192, :256]
    coded = 8 * len(container.read(codec.encode(pixels, quality=quality(rate))).tiles[0])
    with torch.no_grad():
        image = codec.model.pad(picture(pixels))
        estimate = float(codec.model.round_trip(image, vector(rate), 0.0)[0])
    assert abs(coded - estimate) <= 0.01 * estimate + 64


def test_tiles_keep_values_between_integers(photo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(loaded("exact mean-scale"))
    assert not codec.model.integral
    monkeypatch.setattr(tiles, "ONE_TILE_PIXELS", 64 * 64)
    monkeypatch.setattr(tiles, "TILE_LOG2", 7)
    data = codec.encode(photo[:190, :270], quality=60)
    assert len(container.read(data).tiles) == 6
    main = codec.decode_symbols(data)[1]
    assert bool((main != main.round()).any())


@every_model
def test_weights_survive_storage_after_tables_were_made(
    name: str, photo: Any, tmp_path: Path
) -> None:
    codec = Codec(loaded(name))
    data = [codec.encode(photo[:80, :100], quality=q) for q in (20, 70)]
    path = tmp_path / "weights.safetensors"
    weights.save(codec.model, name, config(name), path)
    other = VariableRateModel(**config(name)).eval()
    tables = weights.load(other, path.read_bytes())
    again = Codec(dataclasses.replace(codec.loaded, model=other, tables=tables))
    assert [again.encode(photo[:80, :100], quality=q) for q in (20, 70)] == data
    assert np.array_equal(again.decode(data[0]).pixels, codec.decode(data[0]).pixels)


def test_the_rate_is_bound_to_the_stream(photo: Any) -> None:
    codec = Codec(loaded("exact mean-scale"))
    content = container.read(codec.encode(photo[:80, :100], quality=50))
    header = dataclasses.replace(content.header, rate=content.header.rate + 200)
    with pytest.raises(DamagedError):
        codec.decode(container.write(dataclasses.replace(content, header=header)))


@every_model
def test_training_starts_from_the_single_rate_model(name: str, photo: Any) -> None:
    """At a gain of one nothing has changed; exact ones count symbols from the means since."""
    model, base = make(name, trained=False), make_base(SYSTEMS[name][1])
    image = picture(photo[:128, :128])
    with torch.no_grad():
        bits, decoded = model.round_trip(image, vector(0), 0.0)
        expected_bits, expected = base.round_trip(image, vector(0), 0.0)
    if name in PUBLISHED:
        assert float(bits) == pytest.approx(float(expected_bits), rel=1e-6)
        assert torch.allclose(decoded, expected, atol=1e-3)
    else:
        assert float(bits) == pytest.approx(float(expected_bits), rel=0.03)


def test_scales_fall_with_the_gain() -> None:
    """An exact network says scales in steps: of half the gain, five table indices less."""
    model = make("exact mean-scale", trained=False)
    side = torch.randn(1, 6, 2, 2).round()
    found = []
    for rate in (0, rate_of(0.5)):
        with torch.no_grad():
            schedule = model.prior.schedule((128, 128), vector(rate))
            next(schedule)
            found.append(schedule.send(side))
    inside = found[1].index > 0
    assert bool(inside.any())
    change = (found[0].index - found[1].index)[inside]
    assert float((change - 5).abs().max()) <= 1
    assert torch.equal(found[0].mean, found[1].mean)
    assert torch.allclose(found[0].centred()[0] * 0.5, found[1].centred()[0], rtol=1e-3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parallel_pass_equals_the_schedule(name: str, photo: Any) -> None:
    model = make(name)
    prior, size, rate = model.prior, (128, 192), vector(900)
    assert isinstance(prior, walk.RealPrior)
    with torch.no_grad():
        latents = model.scale(model.transform.analysis(picture(photo[:128, :192])), rate)
        _, seen = walk.bits(prior, latents, size, rate, 0.0)  # contexts see offsets
        units = model.gains.decoder_steps(rate)
        known = [y * u for y, u in zip(prior.merge(seen, size), units, strict=True)]
        inner = list(walk.taught(prior.inner, prior.inner.split(known), size, rate))
        together = prior.inner.parallel(known, size, rate)
        merged = prior.merge([step.mean for step in inner], size)
    for step, expected in zip(together, merged, strict=True):
        assert torch.allclose(step.mean, expected, rtol=1e-4, atol=1e-4)


@every_model
def test_other_weights_can_be_trained_on_as_well(name: str) -> None:
    state = make(name).state_dict()
    adopted = make(name, trained=False).adopted(state)
    assert adopted.keys() == state.keys()
    assert all(torch.equal(adopted[key], value) for key, value in state.items())


@pytest.mark.parametrize("name", ORDERED)
def test_gains_between_rate_parameters(name: str, photo: Any) -> None:
    """Any real gain will do for an estimate; files have the nearest rate parameter."""
    model = make(name)
    with torch.no_grad():
        found = [
            float(model.round_trip(picture(photo[:64, :128]), vector(rate), 0.0)[0])
            for rate in (200, 700.5, 1500)
        ]
    assert found == sorted(found, reverse=True)
