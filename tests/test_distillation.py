"""Training with a teacher: its losses, where the student starts, from the command to a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import batch_of
from small_zoo import config_of, make

from pliant.cli.main import main as pliant
from pliant.codec import Codec
from pliant.errors import UsageError
from pliant.layers.exact import RateVector
from pliant.models import registry
from pliant.models.factorized import FactorizedModel
from pliant.models.ilc import IlcModel
from pliant.training import export, recipes
from pliant.training.distillation import DistillationLoss
from pliant.training.recipes import RECIPES
from pliant.training.trainer import Trainer

TINY = dataclasses.replace(
    RECIPES["ilc"], model="tiny", steps=3, batch=2, crop=64, warmup=1, distortion_weight=0.02
)
STUDENT = config_of("exact ilc")
TEACHER = {"width": 6, "channels": 64, "exact": True, "stages": 3}
Make = Callable[..., Trainer]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, photo_folder: Path) -> None:
    monkeypatch.setitem(registry.MODELS, "tiny", registry.Entry("tiny", IlcModel, STUDENT))
    teacher = registry.Entry("tiny-teacher", FactorizedModel, TEACHER)
    monkeypatch.setitem(registry.MODELS, "tiny-teacher", teacher)
    monkeypatch.setenv("PLIANT_CACHE", str(photo_folder.parent / "cache"))


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """The checkpoint of a teacher's run."""
    torch.manual_seed(4)
    run = tmp_path / "teacher"
    run.mkdir()
    model = registry.build("tiny-teacher")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    torch.save({"average": model.state_dict()}, run / "checkpoint.pt")
    settings = {"model": "tiny-teacher", "distortion_weight": 0.07}
    (run / "recipe.json").write_text(json.dumps(settings))
    return run / "checkpoint.pt"


@pytest.fixture
def trainers(photo_folder: Path, tmp_path: Path) -> Iterator[Make]:
    made: list[Trainer] = []

    def run(**settings: Any) -> Trainer:
        recipe = dataclasses.replace(TINY, **settings)
        made.append(Trainer(recipe, [str(photo_folder)], tmp_path))
        return made[-1]

    yield run
    for trainer in made:
        trainer.batches.close()


def test_the_four_losses(photo: Any, teacher: Path) -> None:
    recipe = dataclasses.replace(TINY, teacher=str(teacher), side_weight=0.3, distillation=0.05)
    model, batch = make("exact ilc"), batch_of(photo)
    assert isinstance(model, IlcModel)
    objective = DistillationLoss(recipe)
    assert objective.teacher is not None
    assert not any(p.requires_grad for p in objective.teacher.parameters())
    with torch.no_grad():
        torch.manual_seed(2)
        found = float(objective(model, batch, 0.5))
        torch.manual_seed(2)
        y, z = model.flow.parts(batch.image)
        bits, decoded = model.surrogate_of([y], (64, 64), RateVector(torch.zeros(2)))
        taught = objective.teacher.transform.analysis(batch.image)[0]
        expected = float(bits.mean()) / 64**2
        expected += 0.02 * float((decoded - batch.image).square().mean())
        expected += 0.3 * 0.5 * float(z.square().mean())
        expected += 0.05 * float((y - taught).square().mean())
    assert found == pytest.approx(expected, rel=1e-4)


def test_what_is_not_coded_counts_in_the_picture(photo: Any) -> None:
    model, batch, found = make("exact ilc"), batch_of(photo), []
    assert isinstance(model, IlcModel)
    for share in (0.0, 2.0):
        torch.manual_seed(2)
        recipe = dataclasses.replace(TINY, side_distortion_weight=share)
        found.append(float(DistillationLoss(recipe)(model, batch, 0.5).detach()))
    decoded = model.flow.synthesis([model.flow.parts(batch.image)[0]])
    lost = float((decoded - batch.image).square().mean().detach())
    assert lost > 1
    assert found[1] - found[0] == pytest.approx(2 * 0.02 * lost, rel=1e-3)


def test_the_student_starts_with_the_prior_of_the_teacher(trainers: Make, teacher: Path) -> None:
    trainer = trainers(teacher=str(teacher))
    prior = torch.load(teacher, weights_only=True)["average"]
    prior = {k: v for k, v in prior.items() if k.startswith("prior.")}
    for state in (trainer.model.state_dict(), trainer.average.state_dict()):
        assert all(torch.equal(state[k], v) for k, v in prior.items())
    before = {k: v.clone() for k, v in trainer.objective.teacher.state_dict().items()}
    trainer.one_step(0.1)
    assert trainer.skipped == 0
    state = trainer.model.state_dict()
    assert any(not torch.equal(state[k], v) for k, v in prior.items())  # it goes on learning
    after = trainer.objective.teacher.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    plain = trainers()
    assert plain.objective.teacher is None
    assert any(not torch.equal(plain.model.state_dict()[k], v) for k, v in prior.items())


def test_the_student_starts_near_the_latent_of_the_teacher(
    photo: Any, trainers: Make, teacher: Path
) -> None:
    """Unless that latent is not to be learned."""
    distances, image = [], batch_of(photo).image
    for weight in (0.05, 0.0):
        trainer = trainers(teacher=str(teacher), distillation=weight)
        with torch.no_grad():
            taught = trainer.objective.teacher.transform.analysis(image)[0]
            y, _ = trainer.model.flow.parts(image)
            distances.append(float((y - taught).square().mean() / taught.square().mean()))
    assert distances[0] < 0.5 < distances[1]


def test_distillation_pulls_towards_the_teacher(photo: Any, teacher: Path) -> None:
    batch, distances = batch_of(photo), []
    for weight in (0.0, 5.0):
        recipe = dataclasses.replace(TINY, teacher=str(teacher), distillation=weight)
        objective, model = DistillationLoss(recipe), make("exact ilc").train()
        assert isinstance(model, IlcModel)
        assert objective.teacher is not None
        optimiser = torch.optim.Adam(model.requires_grad_(True).parameters(), 3e-3)
        for _ in range(6):
            torch.manual_seed(0)
            optimiser.zero_grad()
            objective(model, batch, 0.5).backward()
            optimiser.step()
        with torch.no_grad():
            taught = objective.teacher.transform.analysis(batch.image)[0]
            y, _ = model.flow.parts(batch.image)
            distances.append(float((y - taught).square().mean()))
    assert distances[1] < 0.9 * distances[0]


@pytest.mark.parametrize("name", ["ilc", "exact ilc"])
def test_training_lowers_the_loss(name: str, photo: Any) -> None:
    model, batch = make(name).train().requires_grad_(True), batch_of(photo)
    optimiser, losses = torch.optim.Adam(model.parameters(), 1e-3), []
    for _ in range(12):
        torch.manual_seed(1)
        optimiser.zero_grad()
        loss = DistillationLoss(TINY)(model, batch, 0.5)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]


def test_from_the_command_to_a_file(
    photo_folder: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Any
) -> None:
    run = tmp_path / "run"
    settings = ("model=tiny", "steps=2", "batch=2", "crop=64", f"teacher={teacher}")
    options = [part for text in settings for part in ("--set", text)]
    assert pliant(["train", "ilc", str(photo_folder), "--output", str(run), *options]) == 0
    written = json.loads((run / "recipe.json").read_text())
    assert written["distortion_weight"] == 0.07  # of the teacher
    assert written["teacher"] == str(teacher)
    monkeypatch.setattr(registry, "_FOLDER", tmp_path)
    assert export.main(["tiny", str(run / "checkpoint.pt")]) == 0
    known = json.loads((tmp_path / "index.json").read_text())["tiny"]
    monkeypatch.setitem(registry.MODELS, "tiny", registry.Entry("tiny", IlcModel, **known))
    codec = Codec(registry.load("tiny"))
    assert codec.decode(codec.encode(photo[:33, :90])).pixels.shape == (33, 90, 3)


def test_refusals(
    photo_folder: Path, teacher: Path, trainers: Make, tmp_path: Path, photo: Any
) -> None:
    with pytest.raises(UsageError, match="no recipe"):
        DistillationLoss(dataclasses.replace(TINY, teacher=str(tmp_path / "alone.pt")))
    with pytest.raises(UsageError, match="for the models ilc"):
        DistillationLoss(TINY)(make("factorized"), batch_of(photo), 0.5)
    with pytest.raises(UsageError, match="not be negative"):
        recipes.get("ilc", {"side_weight": "-1"})
    assert recipes.get("ilc", {"side_weight": "0", "distillation": "0"}).side_weight == 0
    other = registry.Entry("tiny-teacher", FactorizedModel, {**TEACHER, "channels": 32})
    registry.MODELS["tiny-teacher"] = other
    torch.save({"average": registry.build("tiny-teacher").state_dict()}, teacher)
    with pytest.raises(UsageError, match="not like the student's"):
        trainers(teacher=str(teacher))
