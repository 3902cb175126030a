"""Training of a whole model: the surrogate of rounding, the loss, the recipes, and the way home."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_priors import make as small_prior
from small_zoo import build, config_of, make
from torch import Tensor

from pliant.codec import Codec
from pliant.errors import DamagedError, UsageError
from pliant.layers.exact import RateVector
from pliant.layers.quantize import symbol_bits
from pliant.models import registry
from pliant.models.factorized import FactorizedModel
from pliant.models.mean_scale_hyperprior import MeanScaleHyperpriorModel
from pliant.priors import walk
from pliant.training import export, recipes, validate
from pliant.training.data import Batch
from pliant.training.losses import PART_LOSSES
from pliant.training.recipes import RECIPES, Recipe
from pliant.training.trainer import Trainer

TINY = Recipe(
    "tiny", model="tiny", part="everything", steps=6, batch=2, crop=64, warmup=2, bfloat16=False
)


def vector(batch: int = 1) -> RateVector:
    return RateVector(torch.zeros(batch))


def latents_of(name: str, image: Tensor) -> tuple[Any, list[Tensor]]:
    model = make(name)
    with torch.no_grad():
        return model, [y.requires_grad_() for y in model.transform.analysis(image)]


def test_cost_of_a_symbol_falls_towards_the_mean() -> None:
    """The gradient in a value is the difference quotient of the cost."""
    index, mean = torch.tensor([20.0, 30.0]), torch.tensor([3.0, -40.0])
    q = torch.tensor([1.3, -6.2], requires_grad=True)
    bits = symbol_bits(q, mean, index)
    bits.sum().backward()
    fixed = q.detach()
    assert torch.allclose(bits, symbol_bits(fixed, mean, index), rtol=1e-4)
    quotient = symbol_bits(fixed + 0.01, mean, index) - symbol_bits(fixed - 0.01, mean, index)
    assert q.grad is not None
    assert torch.allclose(q.grad, quotient / 0.02, rtol=1e-2)


def test_exact_priors_get_rounded_latents() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 64, 128) * 255
    model, latents = latents_of("exact joint autoregressive", image)
    bits, values = walk.noisy(model.prior, latents, (64, 128), vector())
    assert all(torch.allclose(v, y.round()) for v, y in zip(values, latents, strict=True))
    sum(v.sum() for v in values).backward(retain_graph=True)  # type: ignore[union-attr]
    assert all(torch.equal(y.grad, torch.ones_like(y)) for y in latents)  # straight through
    bits.sum().backward()
    assert all(bool((y.grad != 1).any()) for y in latents)


@pytest.mark.parametrize(
    ("name", "asked"), [("mean-scale hyperprior", False), ("exact mean-scale hyperprior", True)]
)
def test_published_priors_get_uniform_noise(name: str, asked: bool) -> None:
    """Exact ones where it is asked for."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, 128, 128) * 255
    model, latents = latents_of(name, image)
    _, values = walk.noisy(model.prior, latents, (128, 128), vector(), asked)
    noise = torch.cat([(v - y).flatten() for v, y in zip(values, latents, strict=True)]).detach()
    assert float(noise.abs().max()) <= 0.5
    assert float(noise.std()) == pytest.approx(12**-0.5, rel=0.1)


@pytest.mark.parametrize("name", ["factorized", "exact mean-scale hyperprior"])
def test_the_surrogate_rate_is_close_to_the_real_one(name: str, photo: Any) -> None:
    torch.manual_seed(0)
    model = make(name)
    image = torch.from_numpy(photo[:192, :256].copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        real, _ = model.round_trip(image, vector(), 0.0)
        estimate, _ = model.surrogate(image, vector())
    assert float(estimate) == pytest.approx(float(real), rel=0.1)


def test_the_trellis_has_no_surrogate() -> None:
    prior, _ = small_prior("pyramid")
    sizes = [(3, 2), *((9, 2 << k) for k in range(5))]
    latents = [torch.randn(1, c, n, n) for c, n in sizes]
    with pytest.raises(ValueError, match="no surrogate"):
        walk.noisy(prior, latents, (64, 64), vector())


def test_the_loss_weighs_rate_and_distortion() -> None:
    model, image = make("factorized"), torch.rand(2, 3, 64, 64) * 255
    losses = []
    for weight in (1.0, 3.0):
        torch.manual_seed(7)
        recipe = dataclasses.replace(TINY, distortion_weight=weight)
        loss = PART_LOSSES["everything"](recipe)
        with torch.no_grad():
            losses.append(float(loss(model, Batch(image, vector(2).rate), 0.5)))
    torch.manual_seed(7)
    model.requires_grad_(False)
    bits, decoded = model.surrogate(image, vector(2))
    error = float((decoded - image).square().mean())
    assert losses[0] == pytest.approx(float(bits.mean()) / 64**2 + error, rel=1e-5)
    recipe = dataclasses.replace(TINY, noisy_synthesis=True)
    noisy = float(PART_LOSSES["everything"](recipe)(model, Batch(image, vector(2).rate), 0.5))
    assert noisy != losses[0]
    assert losses[1] - losses[0] == pytest.approx(2 * error, rel=1e-4)


def test_recipes_train_small_portable_models() -> None:
    for name in ("factorized", "scale-hyperprior", "mean-scale-hyperprior"):
        model = registry.build(RECIPES[name].model)
        assert model.portable
        assert model.single_rate
        assert RECIPES[name].part == "everything"


@pytest.mark.parametrize("name", ["factorized", "exact mean-scale hyperprior"])
def test_from_training_to_a_file(
    name: str, photos: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = photos["chelsea"][:90, :120]
    Image.fromarray(photo).save(tmp_path / "photo.png")
    system = MeanScaleHyperpriorModel if "mean" in name else FactorizedModel
    entry = registry.Entry("tiny", system, config_of(name))
    monkeypatch.setitem(registry.MODELS, "tiny", entry)
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))
    trainer = Trainer(TINY, [str(tmp_path)], tmp_path)
    try:
        for _ in range(3):
            trainer.one_step(0.0)
    finally:
        trainer.batches.close()
    assert trainer.skipped == 0
    trainer.snapshot()
    assert len(validate.Validation(str(tmp_path)).points(trainer.average)) == 1  # of one rate

    monkeypatch.setattr(registry, "_FOLDER", tmp_path)
    assert export.main(["tiny", str(tmp_path / "average-000003.pt")]) == 0
    known = json.loads((tmp_path / "index.json").read_text())["tiny"]
    monkeypatch.setitem(registry.MODELS, "tiny", registry.Entry("tiny", system, **known))
    codec = Codec(registry.load("tiny"))
    data = codec.encode(photo)
    decoded = codec.decode(data).pixels
    assert decoded.shape == photo.shape
    assert build(name).portable == codec.model.portable
    again = Codec(registry.load("tiny"))
    assert np.array_equal(again.decode(data).pixels, decoded)


@pytest.mark.parametrize("name", ["vbr", "pyramid"])
def test_schemes_and_single_parts_choose_what_the_synthesis_sees(name: str) -> None:
    with pytest.raises(UsageError, match="noisy_synthesis"):
        recipes.get(name, {"noisy_synthesis": "yes"})


def test_a_damaged_photo_for_validation_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DamagedError, match=r"a\.png: this is not an image"):
        validate.Validation(str(tmp_path))
