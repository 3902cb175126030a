"""Variable-rate post-training: levels, schemes, what is trained, resume, from command to file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import batch_of
from small_vbr import EVERY, SYSTEMS, config, make
from small_zoo import config_of
from small_zoo import make as make_base
from torch import Tensor

from pliant.cli.main import main as pliant
from pliant.codec import Codec
from pliant.errors import UsageError
from pliant.layers.exact import RateVector
from pliant.layers.variable import gain_of, rate_of
from pliant.models import registry
from pliant.models.mean_scale_hyperprior import MeanScaleHyperpriorModel
from pliant.models.variable_rate import VariableRateModel
from pliant.training import export, loop, min_norm, recipes
from pliant.training.recipes import Recipe
from pliant.training.trainer import Trainer
from pliant.training.vbr import LevelsLoss, settings_from

TINY = Recipe(
    "tiny",
    model="tiny-vbr",
    part="everything",
    scheme="min-norm",
    distortion_weight=0.18,
    steps=6,
    batch=2,
    crop=64,
    warmup=2,
    learning_rate=1e-4,
    matrix_learning_rate=1e-4,
    bfloat16=False,
)
MODEL = "exact mean-scale"
Make = Callable[..., Trainer]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, photo_folder: Path) -> None:
    """A tiny base model and its variable-rate one in the registry."""
    base = registry.Entry("tiny", MeanScaleHyperpriorModel, config_of(SYSTEMS[MODEL][1]))
    monkeypatch.setitem(registry.MODELS, "tiny", base)
    entry = registry.Entry("tiny-vbr", VariableRateModel, config(MODEL))
    monkeypatch.setitem(registry.MODELS, "tiny-vbr", entry)
    monkeypatch.setenv("PLIANT_CACHE", str(photo_folder.parent / "cache"))


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """The checkpoint of a base run."""
    run = tmp_path / "base"
    run.mkdir()
    torch.save({"average": make_base(SYSTEMS[MODEL][1]).state_dict()}, run / "checkpoint.pt")
    settings = {"model": "tiny", "distortion_weight": 0.07}
    (run / "recipe.json").write_text(json.dumps(settings))
    return run / "checkpoint.pt"


@pytest.fixture
def trainers(photo_folder: Path, tmp_path: Path, start: Path) -> Iterator[Make]:
    made: list[Trainer] = []

    def run(name: str = "run", **settings: Any) -> Trainer:
        (tmp_path / name).mkdir(exist_ok=True)
        recipe = dataclasses.replace(TINY, init=str(start), **settings)
        made.append(Trainer(recipe, [str(photo_folder)], tmp_path / name))
        return made[-1]

    yield run
    for trainer in made:
        trainer.batches.close()


def loss_of(**settings: Any) -> LevelsLoss:
    return LevelsLoss(dataclasses.replace(TINY, **settings))


def test_levels_of_a_step() -> None:
    torch.manual_seed(0)
    some = [loss_of().levels(8) for _ in range(200)]
    for chosen in some:
        assert len(set(chosen)) == 3
        assert len({0, 1} & set(chosen)) >= 1
        assert len({6, 7} & set(chosen)) >= 1
    assert {k for chosen in some for k in chosen} == set(range(8))
    assert loss_of(levels=8).levels(8) == list(range(8))
    single = [loss_of(scheme="random").levels(8) for _ in range(200)]
    assert {len(c) for c in single} == {1}
    assert {c[0] for c in single} == set(range(8))


def test_the_loss_weighs_distortion_by_the_square_of_the_gain(photo: Any) -> None:
    model, batch = make(MODEL), batch_of(photo)
    with torch.no_grad():
        torch.manual_seed(7)
        found = float(loss_of(scheme="uniform", levels=8)(model, batch, 0.5))
        torch.manual_seed(7)
        latents, total = model.transform.analysis(batch.image), 0.0
        for gain in model.gains.levels.tolist():
            rate = RateVector(torch.full((2,), rate_of(gain), dtype=torch.float64))
            bits, decoded = model.surrogate_of(latents, (64, 64), rate)
            error = float((decoded - batch.image).square().mean())
            assert float(gain_of(rate.rate[0])) == pytest.approx(gain, rel=6e-4)
            weight = 0.18 * float(gain_of(rate.rate[0])) ** 2
            total += float(bits.mean()) / 64**2 + weight * error
    assert found == pytest.approx(total / 8, rel=1e-5)


@pytest.mark.parametrize(
    "name,normalisation",
    [(MODEL, n) for n in min_norm.NORMALISATIONS] + [(f"{MODEL} cui", "loss+")],
)
def test_min_norm_weights_improve_every_level(name: str, normalisation: str, photo: Any) -> None:
    """Along the weighted gradient of the shared parameters no level gets worse."""
    model, batch = make(name).requires_grad_(True), batch_of(photo)
    objective = loss_of(levels=4, normalisation=normalisation)
    single, small = [], []
    original = objective._weighted

    def spy(losses: list[Tensor], chosen: list[int], model: VariableRateModel) -> Tensor:
        for loss in losses:
            single.append(gradient(loss, model.shared()))
            small.append(gradient(loss, model.added()))
        return original(losses, chosen, model)

    objective._weighted = spy  # type: ignore[method-assign]
    torch.manual_seed(3)
    loss = objective(model, batch, 0.5)
    direction, own = gradient(loss, model.shared()), gradient(loss, model.added())
    assert len(single) == 4
    for each in single:
        assert float(each @ direction / each.norm() / direction.norm()) > -1e-2
    assert torch.allclose(own, torch.stack(small).mean(0), rtol=1e-3, atol=1e-6)


def gradient(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    parts = torch.autograd.grad(loss, parameters, retain_graph=True)
    return torch.cat([p.flatten() for p in parts]).double()


def test_norms_run_and_survive_a_resume(photo: Any) -> None:
    objective = loss_of()
    objective._running(np.array([2.0, 4.0]), [1, 6])
    found = objective._running(np.array([4.0]), [1])
    assert found == pytest.approx([2.2])
    other = loss_of()
    other.load(objective.state())
    assert torch.equal(other.norms, objective.norms)


@pytest.mark.parametrize("name", EVERY)
def test_gradients_reach_every_parameter(name: str, photo: Any) -> None:
    model, batch = make(name).requires_grad_(True), batch_of(photo)
    loss_of(scheme="uniform", levels=8)(model, batch, 0.5).backward()
    for key, parameter in model.named_parameters():
        if key.endswith(("quantiles", "gains.levels")):  # follow from others; are fixed
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, key
        assert bool(torch.isfinite(parameter.grad).all()), key
        assert float(parameter.grad.abs().sum()) > 0, key


@pytest.mark.parametrize("scheme", ["uniform", "random", "min-norm"])
def test_resume_is_exact(scheme: str, trainers: Make) -> None:
    straight = trainers("a", scheme=scheme)  # making one seeds the generator of all
    for _ in range(4):
        straight.one_step(0.1)
    ours = straight.state()
    first = trainers("b", scheme=scheme)
    for _ in range(2):
        first.one_step(0.1)
    first.save()
    second = trainers("b", scheme=scheme)
    second.load()
    for _ in range(2):
        second.one_step(0.1)
    theirs = second.state()
    for key in ("model", "average"):
        assert all(torch.equal(v, theirs[key][k]) for k, v in ours[key].items())
    assert torch.equal(ours["norms"], theirs["norms"])
    assert straight.skipped == 0


def test_parts_can_be_left_out(trainers: Make) -> None:
    trainer = trainers(without="offsets, hyper_step")
    assert trainer.one_step(0.1)[1] > 0
    state = trainer.model.state_dict()
    fresh = VariableRateModel(**config(MODEL))
    gains = fresh.gains.steps(RateVector(torch.tensor([0, 900, 2047])))
    found = trainer.model.gains.steps(RateVector(torch.tensor([0, 900, 2047])))
    assert all(torch.equal(a, b) for a, b in zip(gains, found, strict=True))
    assert float(state["prior.offsets.net.4.weight"].abs().sum()) == 0
    assert torch.equal(state["gains.levels"], fresh.state_dict()["gains.levels"])
    trained = trainers("whole")
    trained.one_step(0.1)
    assert float(trained.model.prior.offsets.net[4].bias.detach().abs()) > 0
    assert torch.equal(trained.model.gains.levels, fresh.gains.levels)  # never move


@pytest.mark.parametrize("name", [MODEL, f"{MODEL} choi", f"{MODEL} song"])
def test_post_training_lowers_the_loss(name: str, photo: Any) -> None:
    model, batch = make(name, trained=False).requires_grad_(True), batch_of(photo)
    objective = loss_of(scheme="uniform", levels=8)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        torch.manual_seed(1)
        optimiser.zero_grad()
        loss = objective(model, batch, 0.5)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]


def test_from_the_command_to_a_file(
    photo_folder: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Any
) -> None:
    run = tmp_path / "run"
    small = ("steps=3", "batch=2", "crop=64", "learning_rate=1e-4", "matrix_learning_rate=1e-4")
    options = [part for text in small for part in ("--set", text)]
    command = [
        "train",
        "vbr",
        str(photo_folder),
        "--from",
        str(start),
        "--output",
        str(run),
        *options,
    ]
    assert pliant([*command, "--valid", str(photo_folder)]) == 0
    settings = json.loads((run / "recipe.json").read_text())
    assert settings["model"] == "tiny-vbr"
    assert settings["distortion_weight"] == 0.07  # of the base
    assert settings["init"] == str(start)
    points = json.loads((run / "validation.jsonl").read_text().splitlines()[-1])["points"]
    assert len(points) == 5

    monkeypatch.setattr(registry, "_FOLDER", tmp_path)
    assert export.main(["tiny-vbr", str(run / "checkpoint.pt")]) == 0
    known = json.loads((tmp_path / "index.json").read_text())["tiny-vbr"]
    entry = registry.Entry("tiny-vbr", VariableRateModel, **known)
    monkeypatch.setitem(registry.MODELS, "tiny-vbr", entry)
    codec = Codec(registry.load("tiny-vbr"))
    sizes = []
    for quality in (100, 47.3, 0):
        data = codec.encode(photo[:70, :90], quality=quality)
        assert codec.decode(data).pixels.shape == (70, 90, 3)
        sizes.append(len(data))
    assert sizes == sorted(sizes, reverse=True)


def test_refusals(photo_folder: Path, start: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--from"):
        loop.main("vbr", [str(photo_folder)], output=str(tmp_path / "none"))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "recipe.json").write_text('{"model": "pyramid", "distortion_weight": 1}')
    with pytest.raises(UsageError, match="no variable-rate model"):
        loop.main("vbr", [str(photo_folder)], start=str(foreign / "checkpoint.pt"))
    for setting, message in (
        ({"scheme": "best"}, "scheme must be"),
        ({"normalisation": "l1"}, "normalisation must be"),
        ({"levels": "9"}, "from 2 to 8"),
        ({"without": "gain"}, "without must name"),
        ({"part": "prior"}, "trains everything"),
    ):
        with pytest.raises(UsageError, match=message):
            recipes.get("vbr", setting)


@pytest.mark.parametrize(
    "base,expected",
    [
        ("scale-hyperprior-small", "scale-hyperprior-small-vbr"),
        ("mean-scale-hyperprior-small", "mean-scale-hyperprior-small-vbr"),
        ("mean-scale-hyperprior-small-cui", "mean-scale-hyperprior-small-cui"),
        ("bmshj2018-hyperprior-192", "bmshj2018-hyperprior-vbr"),
        ("mbt2018-mean-192", "mbt2018-mean-vbr"),
        ("mbt2018-320", "mbt2018-vbr"),
        ("mbt2018-vbr", "mbt2018-vbr"),
    ],
)
def test_the_model_follows_from_the_checkpoint(base: str, expected: str, tmp_path: Path) -> None:
    settings = {"model": base, "distortion_weight": 0.05}
    (tmp_path / "recipe.json").write_text(json.dumps(settings))
    found = settings_from(tmp_path / "checkpoint.pt")
    assert found == {"model": expected, "distortion_weight": "0.05"}
    assert settings_from(tmp_path / "elsewhere" / "checkpoint.pt") == {}
