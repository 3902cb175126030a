"""Training at anchors: rates, weights, resume, from the command to a file, 8 to 12 anchors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import batch_of
from small_zoo import build, config_of, make

from pliant.cli.main import main as pliant
from pliant.codec import Codec
from pliant.errors import UsageError
from pliant.layers.anchor_gains import ANCHOR_WEIGHTS, anchor_rates
from pliant.layers.exact import RateVector
from pliant.models import registry
from pliant.models.msinn import MsinnModel
from pliant.training import export
from pliant.training.anchors import AnchorsLoss
from pliant.training.recipes import RECIPES
from pliant.training.trainer import Trainer

NAME = "exact msinn refined"
TINY = dataclasses.replace(RECIPES["msinn"], model="tiny", steps=4, batch=2, crop=64, warmup=2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, photo_folder: Path) -> None:
    config = config_of(NAME)
    monkeypatch.setitem(registry.MODELS, "tiny", registry.Entry("tiny", MsinnModel, config))
    more = registry.Entry("tiny-more", MsinnModel, {**config, "weights": ANCHOR_WEIGHTS[:5]})
    monkeypatch.setitem(registry.MODELS, "tiny-more", more)
    monkeypatch.setenv("PLIANT_CACHE", str(photo_folder.parent / "cache"))


@pytest.fixture
def trainer(photo_folder: Path, tmp_path: Path) -> Iterator[Trainer]:
    made = Trainer(TINY, [str(photo_folder)], tmp_path)
    yield made
    made.batches.close()


def test_every_picture_draws_an_anchor_and_its_weight(photo: Any) -> None:
    model, batch = make(NAME), batch_of(photo, 4)
    seen: list[RateVector] = []
    surrogate = model.surrogate

    def spy(image: Any, rate: RateVector) -> Any:
        seen.append(rate)
        return surrogate(image, rate)

    model.surrogate = spy  # type: ignore[method-assign]
    with torch.no_grad():
        torch.manual_seed(5)
        found = float(AnchorsLoss(TINY)(model, batch, 0.5))
        torch.manual_seed(5)
        numbers = torch.randint(3, (4,))
        rate = RateVector(torch.tensor(anchor_rates(3)).double()[numbers])
        bits, decoded = surrogate(batch.image, rate)
        weights = torch.tensor(ANCHOR_WEIGHTS)[numbers]
        errors = (decoded - batch.image).square().mean((1, 2, 3))
        expected = float(bits.mean()) / 64**2 + float((weights * errors).mean())
    assert found == pytest.approx(expected, rel=1e-5)
    assert seen[0].rate.tolist() == rate.rate.tolist()
    drawn = set()
    for _ in range(6):
        AnchorsLoss(TINY)(model, batch, 0.5)
        drawn |= set(seen[-1].rate.tolist())
    assert drawn == set(anchor_rates(3))


def test_other_models_have_no_anchors(photo: Any) -> None:
    with pytest.raises(UsageError, match="anchors"):
        AnchorsLoss(TINY)(make("factorized"), batch_of(photo), 0.5)


def test_the_average_starts_from_photos_too(trainer: Trainer) -> None:
    """Norms and rotations are set before the average and the optimiser are made."""
    start, average = trainer.model.state_dict(), trainer.average.state_dict()
    assert all(torch.equal(v, average[k]) for k, v in start.items())
    norms = [v for k, v in start.items() if k.endswith("bias") and v.dim() == 3]
    assert any(float(v.abs().sum()) > 0 for v in norms)


def test_resume_is_exact(photo_folder: Path, tmp_path: Path) -> None:
    states = []
    for resumed in (False, True):
        run = tmp_path / f"{resumed}"
        run.mkdir()
        trainer = Trainer(TINY, [str(photo_folder)], run)
        for step in range(4):
            if resumed and step == 2:
                trainer.save()
                trainer.batches.close()
                trainer = Trainer(TINY, [str(photo_folder)], run)
                trainer.load()
            trainer.one_step(0.1)
        trainer.batches.close()
        states.append(trainer.state())
    for key in ("model", "average"):
        assert all(torch.equal(v, states[1][key][k]) for k, v in states[0][key].items())


@pytest.mark.parametrize("name", [NAME, "msinn linear"])
def test_training_lowers_the_loss(name: str, photo: Any) -> None:
    torch.manual_seed(0)
    model, batch = build(name).train(), batch_of(photo)
    model.start_from_photos(batch.image, 1.0)
    optimiser, losses = torch.optim.Adam(model.parameters(), 2e-3), []
    for _ in range(12):
        torch.manual_seed(1)
        optimiser.zero_grad()
        loss = AnchorsLoss(TINY)(model, batch, 0.5)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.97 * losses[0]


def test_from_the_command_to_a_file(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Any
) -> None:
    run, more = tmp_path / "run", tmp_path / "more"
    settings = ("model=tiny", "steps=2", "batch=2", "crop=64")
    options = [part for text in settings for part in ("--set", text)]
    assert pliant(["train", "msinn", str(photo_folder), "--output", str(run), *options]) == 0
    monkeypatch.setattr(registry, "_FOLDER", tmp_path)
    checkpoint = str(run / "checkpoint.pt")
    assert export.main(["tiny", checkpoint]) == 0
    known = json.loads((tmp_path / "index.json").read_text())["tiny"]
    monkeypatch.setitem(registry.MODELS, "tiny", registry.Entry("tiny", MsinnModel, **known))
    codec = Codec(registry.load("tiny"))
    sizes = []
    for quality in (100, 47.3, 0):
        data = codec.encode(photo[:70, :90], quality=quality)
        assert codec.decode(data).pixels.shape == (70, 90, 3)
        sizes.append(len(data))
    assert sizes == sorted(sizes, reverse=True)

    options[1] = "model=tiny-more"
    command = ["train", "msinn", str(photo_folder), "--output", str(more), "--from", checkpoint]
    assert pliant([*command, *options]) == 0
    state = torch.load(more / "checkpoint.pt", weights_only=True)["average"]
    assert state["gains.main.logs"].shape[0] == 5
