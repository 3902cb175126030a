"""One conformance suite for every model of the zoo."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_zoo import EXACT, NAMES, PUBLISHED, build, config_of, loaded, make
from torch import Tensor

from pliant import container, tiles
from pliant.codec import Codec
from pliant.errors import DamagedError
from pliant.layers.exact import RateBias, RateVector
from pliant.models import weights
from pliant.priors import walk
from pliant.training.optimiser import Optimiser

PARALLEL = [name for name in PUBLISHED if isinstance(build(name).prior, walk.RealPrior)]
every_model = pytest.mark.parametrize("name", NAMES)


def vector(batch: int = 1) -> RateVector:
    return RateVector(torch.zeros(batch))


def picture(pixels: Any) -> Tensor:
    """uint8 (H, W, 3) to (1, 3, H, W)."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()


@every_model
@pytest.mark.parametrize("size", [(1, 1), (65, 127)])
def test_round_trip_of_a_file(name: str, size: tuple[int, int], photo: Any, tmp_path: Path) -> None:
    codec = Codec(loaded(name))
    pixels = photo[: size[0], : size[1]]
    path = tmp_path / "photo.pli"
    path.write_bytes(codec.encode(pixels, quality=100))
    data = path.read_bytes()
    assert container.read(data).header.portable == (name in EXACT)
    decoded = codec.decode(data).pixels
    assert decoded.shape == pixels.shape
    with torch.no_grad():
        image = codec.model.decoded(codec.decode_symbols(data), vector())
        _, expected = codec.model.round_trip(codec.model.pad(picture(pixels)), vector(), 0.0)
    inside = image[0, :, : size[0], : size[1]].permute(1, 2, 0)
    assert np.array_equal(decoded, inside.round().clamp(0, 255).byte().numpy())
    assert torch.allclose(image, expected, rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("name", ["joint autoregressive", "exact cheng anchor"])
def test_large_pictures_are_tiled(name: str, photo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "ONE_TILE_PIXELS", 64 * 64)
    monkeypatch.setattr(tiles, "TILE_LOG2", 7)
    codec = Codec(loaded(name))
    pixels = photo[:190, :270]
    data = codec.encode(pixels)
    assert len(container.read(data).tiles) == 6
    decoded = codec.decode(data).pixels
    with torch.no_grad():
        latents = codec.model.transform.analysis(codec.model.pad(picture(pixels)))
        for y, value in zip(latents, codec.decode_symbols(data), strict=True):
            assert float((y - value).abs().max()) <= 0.5001
        image = codec.model.decoded(codec.decode_symbols(data), vector())
    expected = image[0, :, :190, :270].permute(1, 2, 0).round().clamp(0, 255).numpy()
    assert np.abs(decoded - expected).max() <= 1


@every_model
def test_files_are_deterministic(name: str, photo: Any) -> None:
    first, second = Codec(loaded(name)), Codec(loaded(name))
    data = first.encode(photo[:100, :130])
    assert first.encode(photo[:100, :130]) == data
    assert second.encode(photo[:100, :130]) == data
    assert np.array_equal(first.decode(data).pixels, second.decode(data).pixels)


@every_model
def test_estimate_equals_the_coded_bits(name: str, photo: Any) -> None:
    codec = Codec(loaded(name))
    pixels = photo[:192, :256]
    coded = 8 * sum(len(s) for s in container.read(codec.encode(pixels, quality=100)).tiles)
    with torch.no_grad():
        image = codec.model.pad(picture(pixels))
        estimate = float(codec.model.round_trip(image, vector(), codec.model.strength)[0])
    assert abs(coded - estimate) <= 0.005 * estimate + 64


@every_model
def test_weights_survive_storage(name: str, photo: Any, tmp_path: Path) -> None:
    codec = Codec(loaded(name))
    path = tmp_path / "weights.safetensors"
    weights.save(codec.model, name, config_of(name), path)
    other = build(name).eval()
    tables = weights.load(other, path.read_bytes())
    again = Codec(dataclasses.replace(codec.loaded, model=other, tables=tables))
    data = codec.encode(photo[:80, :100])
    assert again.encode(photo[:80, :100]) == data
    assert np.array_equal(again.decode(data).pixels, codec.decode(data).pixels)


@every_model
def test_other_weights_are_noticed(name: str, photo: Any) -> None:
    codec = Codec(loaded(name))
    data = codec.encode(photo[:90, :90])
    liar = dataclasses.replace(loaded(name, seed=1), entry=codec.loaded.entry)
    with pytest.raises(DamagedError):
        Codec(liar).decode(data)


@every_model
def test_gradients_reach_every_parameter(name: str, photo: Any) -> None:
    torch.manual_seed(0)
    model = make(name).train().requires_grad_(True)
    bits, decoded = model.surrogate(picture(photo[:128, :128]), vector())
    (bits.sum() / 128**2 + 0.01 * decoded.square().mean()).backward()
    unused = {id(m.anchors) for m in model.modules() if isinstance(m, RateBias)}
    for key, parameter in model.named_parameters():
        if key.endswith("quantiles"):  # they follow from the density
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, key
        gradient = parameter.grad[:, :1] if id(parameter) in unused else parameter.grad
        assert bool(torch.isfinite(parameter.grad).all()), key
        assert float(gradient.abs().sum()) > 0, key


@every_model
def test_a_batch_equals_single_pictures(name: str, photo: Any) -> None:
    model = make(name)
    parts = [picture(photo[k : k + 64, 2 * k : 2 * k + 128]) for k in (0, 50, 130)]
    with torch.no_grad():
        bits, decoded = model.round_trip(torch.cat(parts), vector(3), 0.0)
        alone = [model.round_trip(part, vector(), 0.0) for part in parts]
    assert torch.allclose(bits, torch.cat([b for b, _ in alone]), rtol=1e-3)
    assert torch.allclose(decoded, torch.cat([d for _, d in alone]), rtol=1e-3, atol=0.1)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("factorized", 0.9),
        ("joint autoregressive", 0.9),
        ("exact mean-scale hyperprior", 0.9),
        ("msinn", 0.9),
        ("exact msinn refined", 0.9),
        ("exact ilc", 0.97),  # starts as a codec already
    ],
)
def test_training_reduces_the_loss(name: str, share: float, photo: Any) -> None:
    torch.manual_seed(0)
    model = build(name).train()
    image = torch.cat([picture(photo[k : k + 64, 40:104]) for k in (0, 60, 120)])
    model.start_from_photos(image, 0.01)
    optimiser = Optimiser(model, 2e-3, 1e-3, 2.0)
    losses = []
    for _ in range(15):
        bits, decoded = model.surrogate(image, vector(3))
        loss = bits.mean() / 64**2 + 0.01 * (decoded - image).square().mean()
        model.zero_grad()
        loss.backward()
        optimiser.clip()
        optimiser.step(1.0)
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < share * losses[0]


@pytest.mark.parametrize("name", PARALLEL)
def test_the_parallel_pass_equals_the_schedule(name: str, photo: Any) -> None:
    model = make(name)
    prior, size = model.prior, (128, 192)
    assert isinstance(prior, walk.RealPrior)
    with torch.no_grad():
        latents = model.transform.analysis(picture(photo[:128, :192]))
        _, parts = walk.bits(prior, latents, size, vector(), 0.0)
        values = prior.merge(parts, size)
        serial = list(walk.taught(prior, parts, size, vector()))
        together = prior.parallel(values, size, vector())
        for field in ("mean", "index", "fraction"):
            merged = prior.merge([getattr(step, field) for step in serial], size)
            for step, expected in zip(together, merged, strict=True):
                assert torch.allclose(getattr(step, field), expected, rtol=1e-4, atol=1e-4), field


@pytest.mark.parametrize("name", ["factorized", "cheng attention", "exact msinn refined", "ilc"])
def test_nothing_beyond_the_reach_matters(name: str) -> None:
    model = make(name)
    reach = model.reach
    assert reach is not None
    wide = torch.rand(1, 3, 64, 2 * reach + 192) * 255
    other = wide.clone()
    other[..., :64], other[..., -64:] = 0, 255
    inside = slice(64 + reach, 128 + reach)
    with torch.no_grad():
        parts = [model.transform.analysis(x) for x in (wide, other)]
        for a, b in zip(*parts, strict=True):
            factor = wide.shape[3] // a.shape[3]
            part = slice(inside.start // factor, inside.stop // factor)
            assert torch.equal(a[..., part], b[..., part])
            b.copy_(a)
            b[..., : 64 // factor], b[..., -64 // factor :] = 9, -9
        a, b = (model.decoded(p, vector()) for p in parts)
    assert torch.equal(a[..., inside], b[..., inside])
    assert not torch.equal(a, b)
