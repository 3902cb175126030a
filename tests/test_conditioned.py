"""Autoencoders that depend on the rate: levels, quality maps, blocks of large pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_vbr import make
from torch import Tensor

from pliant.layers.exact import RateVector
from pliant.layers.variable import level_rates
from pliant.models.variable_rate import VariableRateModel
from pliant.priors import walk
from pliant.transforms.conditioned import ConditionedAutoencoder

CHOI, SONG = "exact mean-scale choi", "exact mean-scale song"
both = pytest.mark.parametrize("name", [CHOI, SONG])


def vector(*rates: float) -> RateVector:
    return RateVector(torch.tensor(rates, dtype=torch.float64))


def picture(pixels: Any) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()


def transform_of(model: VariableRateModel) -> ConditionedAutoencoder:
    assert isinstance(model.transform, ConditionedAutoencoder)
    return model.transform


@both
def test_untrained_it_is_the_autoencoder(name: str, photo: Any) -> None:
    model = make(name, trained=False)
    transform, image = transform_of(model), picture(photo[:64, :128])
    with torch.no_grad():
        for rate in (0, 1000):
            side, main = transform.analysis_at(image, vector(rate))
            plain = transform.encoder(image / 255)
            assert torch.allclose(main, plain, atol=1e-5)
            assert transform.hyper is not None
            assert torch.allclose(side, transform.hyper(plain), atol=1e-5)
            decoded = transform.synthesis_at([side, main], vector(rate))
            assert torch.allclose(decoded, transform.decoder(main) * 255, atol=1e-3)


@both
def test_pictures_of_a_batch_have_their_own_rates(name: str, photo: Any) -> None:
    model = make(name)
    transform, image = transform_of(model), picture(photo[:64, :64])
    rates = 100.0, 900.0, 2047.0
    with torch.no_grad():
        together = transform.analysis_at(image.expand(3, -1, -1, -1), vector(*rates))
        decoded = transform.synthesis_at(together, vector(*rates))
        for number, rate in enumerate(rates):
            alone = transform.analysis_at(image, vector(rate))
            for a, b in zip(together, alone, strict=True):
                assert torch.allclose(a[number : number + 1], b, rtol=1e-3, atol=1e-4)
            expected = transform.synthesis_at(alone, vector(rate))
            assert torch.allclose(decoded[number : number + 1], expected, rtol=1e-3, atol=1e-2)
    assert not torch.allclose(together[1][0], together[1][1], atol=0.1)


def test_rates_near_one_level_differ_in_their_bins_alone(photo: Any) -> None:
    model = make(CHOI)
    transform, image = transform_of(model), picture(photo[:64, :64])
    level = level_rates()[4]
    with torch.no_grad():
        latents = [transform.analysis_at(image, vector(r)) for r in (level - 90, level, level + 90)]
        other = transform.analysis_at(image, vector(level_rates()[3]))
    for side, main in latents:
        assert torch.equal(side, latents[0][0])
        assert torch.equal(main, latents[0][1])
    assert not torch.equal(other[1], latents[0][1])


def test_training_with_mixed_bins_draws_rates_near_the_level() -> None:
    torch.manual_seed(0)
    choi, song = make(CHOI), make(SONG)
    for level, rate in enumerate(level_rates()):
        drawn = [choi.drawn_rate(level) for _ in range(40)]
        assert len(set(drawn)) > 20
        assert max(abs(r - rate) for r in drawn) <= 150
        assert song.drawn_rate(level) == rate


def test_a_uniform_map_is_the_standard_case(photo: Any) -> None:
    """A picture may bring its quality map along as a fourth plane."""
    model = make(SONG)
    image = picture(photo[:64, :128])
    quality = torch.full((1, 1, 64, 128), 1 - 600 / 2047)
    with torch.no_grad():
        plain = model.round_trip(image, vector(600), 0.0)
        mapped = model.round_trip(torch.cat((image, quality), 1), vector(600), 0.0)
    assert torch.allclose(plain[1], mapped[1], atol=1e-3)
    assert float(plain[0]) == pytest.approx(float(mapped[0]), rel=1e-5)


def test_a_map_acts_where_it_differs_and_is_not_sent(photo: Any) -> None:
    model, rate, size = make(SONG), vector(600), (64, 256)
    tables = model.tables()
    image = picture(photo[:64, :256])
    quality = torch.full((1, 1, *size), 0.5)
    other = quality.clone()
    other[..., 192:] = 1
    found = []
    with torch.no_grad():
        for plane in (quality, other):
            mapped = torch.cat((image, plane), 1)
            latents = model.scale(model.transform.analysis(mapped), rate)
            data = walk.write(model.prior, latents, size, rate, tables, 0.0)
            symbols = walk.read(model.prior, data, size, rate, tables)
            found.append((latents, model.decoded(symbols, rate)))
    (plain, first), (changed, second) = found
    assert torch.equal(plain[1][..., :7], changed[1][..., :7])
    assert not torch.equal(plain[1][..., 13:], changed[1][..., 13:])
    assert first.shape == second.shape == image.shape
    assert not torch.equal(first, second)


@both
def test_nothing_beyond_the_reach_matters(name: str) -> None:
    """Large pictures are decoded in blocks."""
    model = make(name)
    reach = model.reach
    assert reach is not None
    torch.manual_seed(0)
    width = 2 * reach + 192
    parts = [[torch.randn(1, c, 64 // f, width // f) for c, f in ((6, 64), (10, 16))]]
    parts.append([y.clone() for y in parts[0]])
    for y, factor in zip(parts[1], (64, 16), strict=True):
        y[..., : 64 // factor] += 1
        y[..., -64 // factor :] += 1
    with torch.no_grad():
        a, b = (model.decoded(p, vector(700)) for p in parts)
    assert torch.equal(a[..., 64 + reach : 128 + reach], b[..., 64 + reach : 128 + reach])
    assert not torch.equal(a, b)
