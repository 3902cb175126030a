"""The seams: an autoencoder with a classic prior goes through the whole codec, untouched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from autoencoder import PRIORS, AutoencoderModel, loaded

from pliant.codec import Codec
from pliant.errors import DamagedError, MissingError
from pliant.layers.exact import RateVector
from pliant.models import weights
from pliant.models.complexity import macs_per_pixel

each_prior = pytest.mark.parametrize("prior", PRIORS)


@each_prior
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (65, 127), (17, 190)])
def test_pictures_of_any_size_go_through(prior: str, size: tuple[int, int], photo: Any) -> None:
    codec = Codec(loaded(prior))
    pixels = photo[: size[0], : size[1]]
    data = codec.encode(pixels, quality=80)
    picture = codec.decode(data)
    assert picture.pixels.shape == pixels.shape
    assert codec.encode(pixels, quality=80) == data
    assert np.array_equal(codec.decode(data).pixels, picture.pixels)


@each_prior
def test_the_decoder_sees_what_the_encoder_chose(prior: str, photo: Any) -> None:
    codec = Codec(loaded(prior))
    data = codec.encode(photo[:128, :192], quality=90)
    side, main = codec.decode_symbols(data)
    assert side.shape == (1, 4, 2, 3)
    assert main.shape == (1, 12, 8, 12)
    assert bool(main.any())
    rate = RateVector(torch.tensor([205]))
    with torch.no_grad():
        image = codec.model.decoded([side, main], rate)
    expected = image[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    assert np.array_equal(codec.decode(data).pixels, expected)


@each_prior
def test_quality_changes_size_and_targets_are_met(prior: str, photo: Any) -> None:
    codec = Codec(loaded(prior))
    pixels = photo[:128, :192]
    sizes = [len(codec.encode(pixels, quality=q)) for q in (60, 80, 100)]
    assert sizes == sorted(sizes)
    budget = (sizes[0] + sizes[-1]) // 2
    assert 0.9 * budget < len(codec.encode(pixels, size=budget)) <= budget


def test_large_pictures_are_tiled(photos: dict[str, Any]) -> None:
    codec = Codec(loaded("checkerboard"))
    pixels = np.tile(photos["astronaut"], (5, 4, 1))[:2300, :1900]
    data = codec.encode(pixels, quality=70)
    assert codec.decode(data).pixels.shape == pixels.shape
    assert codec.decode_symbols(data)[1].shape == (1, 12, 144, 120)


@each_prior
def test_a_file_needs_its_own_model(prior: str, photo: Any) -> None:
    data = Codec(loaded(prior)).encode(photo[:64, :64], quality=80)
    with pytest.raises(MissingError, match="01010101"):
        Codec(loaded(prior, seed=1)).decode(data)
    liar = loaded(prior, seed=1)
    liar = dataclasses.replace(liar, entry=loaded(prior).entry)
    with pytest.raises(DamagedError):
        Codec(liar).decode(data)


@each_prior
def test_weights_survive_storage(prior: str, tmp_path: Path, photo: Any) -> None:
    codec = Codec(loaded(prior))
    path = tmp_path / "weights.safetensors"
    weights.save(codec.model, prior, {"prior": prior}, path)
    other = AutoencoderModel(prior).eval()
    tables = weights.load(other, path.read_bytes())
    assert weights.self_check(other) == weights.read_metadata(path)["self_check"]
    again = Codec(dataclasses.replace(codec.loaded, model=other, tables=tables))
    data = codec.encode(photo[:100, :100], quality=90)
    assert again.encode(photo[:100, :100], quality=90) == data
    assert np.array_equal(again.decode(data).pixels, codec.decode(data).pixels)


@each_prior
def test_training_reduces_the_loss(prior: str, photos: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = AutoencoderModel(prior).train()
    crops = [p[64:192, 64:192] for p in photos.values()]
    image = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
    rate = RateVector(torch.tensor([300.0, 900.0, 1500.0]))
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(20):
        bits, decoded = model.round_trip(image, rate, 1.0)
        error = ((decoded - image) ** 2).mean((1, 2, 3)) / 255**2
        loss = (bits / 128**2 + 20 * error).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.9 * losses[0]


@each_prior
def test_work_is_counted(prior: str) -> None:
    encoder, decoder = macs_per_pixel(loaded(prior).model)
    assert 0 < decoder < encoder < 25_000
