"""The training loop: exact resume, guards, budget, what a run folder holds, clear refusals."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from pliant.cli.main import main as pliant
from pliant.errors import PliantError, UsageError
from pliant.models import registry, weights
from pliant.models.pyramid import PyramidModel
from pliant.training import checkpoint, export, loop, recipes, validate
from pliant.training.journal import Journal
from pliant.training.loop import train
from pliant.training.recipes import Recipe
from pliant.training.trainer import Trainer

CONFIG: dict[str, Any] = {"widths": (8, 8, 8)}
TINY = Recipe(name="tiny", model="tiny", steps=6, batch=2, crop=64, warmup=2, plain_share=0.0)
Make = Callable[..., Trainer]


@pytest.fixture(scope="module")
def photo_folder(photos: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, pixels in photos.items():
        Image.fromarray(pixels[100:260, 100:290]).save(folder / f"{name}.png")
    return folder


@pytest.fixture(autouse=True)
def tiny(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, photo_folder: Path
) -> None:
    """A tiny model in the registry, and a cache that the tests share."""
    monkeypatch.setitem(registry.MODELS, "tiny", registry.Entry("tiny", PyramidModel, CONFIG))
    monkeypatch.setenv("PLIANT_CACHE", str(photo_folder.parent / "cache"))


@pytest.fixture
def start(tmp_path: Path) -> str:
    """A checkpoint of the tiny model, whose weights are as good as any."""
    torch.manual_seed(3)
    path = tmp_path / "start.pt"
    torch.save({"average": registry.build("tiny").state_dict()}, path)
    return str(path)


@pytest.fixture
def make(photo_folder: Path, tmp_path: Path) -> Iterator[Make]:
    """Makes trainers and ends their threads."""
    made: list[Trainer] = []

    def run(recipe: Recipe, folder: str = "run") -> Trainer:
        (tmp_path / folder).mkdir(exist_ok=True)
        made.append(Trainer(recipe, [str(photo_folder)], tmp_path / folder))
        return made[-1]

    yield run
    for trainer in made:
        trainer.batches.close()


def same(a: Any, b: Any) -> bool:
    """Whether nested states are equal to the last bit."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def steps(trainer: Trainer, count: int) -> None:
    for _ in range(count):
        trainer.one_step(trainer.progress(None))


def test_resume_is_exact(make: Make, start: str) -> None:
    recipe = dataclasses.replace(TINY, init=start)
    straight, first, second = make(recipe, "a"), make(recipe, "b"), make(recipe, "b")
    before = {k: v.clone() for k, v in straight.model.state_dict().items()}
    steps(straight, 6)
    steps(first, 3)
    first.save()
    second.load()
    steps(second, 3)
    ours, theirs = straight.state(), second.state()
    for key in ours.keys() - {"elapsed"}:
        assert same(ours[key], theirs[key]), key
    changed = {k for k, v in before.items() if not torch.equal(v, ours["model"][k])}
    assert changed
    assert all(k.startswith("prior.") for k in changed)


def test_the_checkpoint_keeps_its_layout(make: Make) -> None:
    trainer = make(TINY)
    steps(trainer, 1)
    expected = {"model", "average", "optimiser", "running", "seen", "rng", "torch_rng"}
    assert trainer.state().keys() == expected | {"step", "elapsed", "skipped"}


def test_a_step_that_is_not_finite_is_skipped(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(TINY)
    steps(trainer, 1)
    objective, factor = trainer.objective, math.nan
    monkeypatch.setattr(trainer, "objective", lambda *a: objective(*a) * factor)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    average = {k: v.clone() for k, v in trainer.average.state_dict().items()}
    steps(trainer, 2)
    assert (trainer.step, trainer.skipped) == (3, 2)
    assert same(before, trainer.model.state_dict())
    assert same(average, trainer.average.state_dict())
    factor = 1.0
    steps(trainer, 1)
    assert (trainer.step, trainer.skipped) == (4, 2)
    assert not same(before, trainer.model.state_dict())


def test_training_that_diverges_ends(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(TINY)
    objective = trainer.objective
    monkeypatch.setattr("pliant.training.trainer.MAX_SKIPPED", 2)
    monkeypatch.setattr(trainer, "objective", lambda *a: objective(*a) * math.inf)
    with pytest.raises(PliantError, match="3 steps in a row"):
        steps(trainer, 4)


def test_the_average_follows(make: Make) -> None:
    trainer = make(dataclasses.replace(TINY, ema=0.0))
    steps(trainer, 2)
    assert same(trainer.average.state_dict(), trainer.model.state_dict())
    trainer = make(TINY)
    steps(trainer, 2)
    assert not same(trainer.average.state_dict(), trainer.model.state_dict())


def test_spreads_without_a_weight_can_be_trained(make: Make, start: str) -> None:
    """Weights of a model that was installed are integers, and there is no logarithm of zero."""
    state = checkpoint.read_checkpoint(Path(start))
    state["average"]["prior.fine.nets.0.spread.weight"][0] = -math.inf
    torch.save(state, start)
    trainer = make(dataclasses.replace(TINY, init=start))
    steps(trainer, 1)
    assert all(bool(p.isfinite().all()) for p in trainer.average.parameters())


def test_learning_rates_rise_and_fall(make: Make) -> None:
    trainer = make(dataclasses.replace(TINY, warmup=10))
    assert trainer.rate_share(0.0) == pytest.approx(0.1)
    trainer.step = 20
    rates = [trainer.rate_share(p) for p in (0.0, 0.5, 1.0, 1.1)]
    assert rates == pytest.approx([1.0, 0.505, 0.01, 0.01])


def test_a_run_folder_holds_the_run(photo_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    recipe = dataclasses.replace(TINY, steps=10, batch=1, validate_every=6, save_every=5)
    folders, output = [str(photo_folder)], tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validate, "RATES", (1408,))
        patch.setattr(validate, "LARGEST", 64)
        patch.setattr(loop, "LOG_EVERY", 4)
        train(recipe, folders, output, valid=folders[0])
    names = {p.name for p in output.iterdir()}
    assert names == {
        *("recipe.json", "log.txt", "checkpoint.pt", "validation.jsonl", "rd.png", "rd.svg"),
        *("average-000006.pt", "average-000010.pt"),
    }
    assert json.loads((output / "recipe.json").read_text()) == dataclasses.asdict(recipe)
    log = (output / "log.txt").read_text().splitlines()
    words = [line.split()[0] + line.split()[1] for line in log]
    assert words == ["step4", "valid6", "step8", "valid10"]
    for word in ("minutes", "loss", "norm", "skipped", "rates", "steps/s", "values"):
        assert f" {word} " in log[0]
    history = [json.loads(t) for t in (output / "validation.jsonl").read_text().splitlines()]
    assert [h["step"] for h in history] == [6, 10]
    (bpp, psnr) = history[1]["points"][0]
    assert 0 < bpp < 8
    assert 15 < psnr < 60
    saved = torch.load(output / "checkpoint.pt", weights_only=True)
    last = torch.load(output / "average-000010.pt", weights_only=True)
    assert saved["step"] == 10
    assert same(saved["average"], last["average"])


def test_names_that_are_no_text_are_logged(tmp_path: Path) -> None:
    for _ in range(2):
        journal = Journal(tmp_path)
        journal.note("left out: \udcff.png")
        journal.close()
    assert (tmp_path / "log.txt").read_text() == 2 * "left out: \\udcff.png\n"


def test_without_matplotlib_there_is_a_sentence(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(validate, "RATES", (1408,))
    monkeypatch.setattr(validate, "LARGEST", 64)
    recipe = dataclasses.replace(TINY, steps=1, batch=1)
    train(recipe, [str(photo_folder)], tmp_path / "run", valid=str(photo_folder))
    assert (tmp_path / "run" / "log.txt").read_text().splitlines()[-1].startswith("no plot: ")
    assert not (tmp_path / "run" / "rd.png").exists()


def test_a_time_budget_ends_on_time(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def half_a_second(self: Trainer, progress: float) -> tuple[float, float]:
        seen.append(progress)
        self.step += 1
        self.elapsed += 0.5
        return 1.0, 1.0

    monkeypatch.setattr(Trainer, "one_step", half_a_second)
    recipe = dataclasses.replace(TINY, batch=1, steps=1)
    train(recipe, [str(photo_folder)], tmp_path / "run", minutes=0.1)
    assert len(seen) == 12  # unless writing the log took half a second
    assert seen[6] == pytest.approx(0.5, abs=0.08)


def test_an_interrupted_run_goes_on(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.one_step

    def interrupted(self: Trainer, progress: float) -> tuple[float, float]:
        result = original(self, progress)
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    recipe, folders, output = dataclasses.replace(TINY, steps=4), [str(photo_folder)], tmp_path
    monkeypatch.setattr(Trainer, "one_step", interrupted)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, folders, output)
    assert signal.getsignal(signal.SIGTERM) == handler
    assert checkpoint.read_checkpoint(output / "checkpoint.pt")["step"] == 2
    other = dataclasses.replace(recipe, learning_rate=1e-3)
    train(other, folders, output, resume=True)
    assert checkpoint.read_checkpoint(output / "checkpoint.pt")["step"] == 4
    assert "step 2 goes on with other settings" in (output / "log.txt").read_text()


def test_refusals(photo_folder: Path, tmp_path: Path) -> None:
    folders = [str(photo_folder)]
    run, empty = tmp_path / "run", tmp_path / "empty"
    empty.mkdir()
    run.mkdir()
    (run / "checkpoint.pt").write_bytes(b"?")
    (run / "recipe.json").write_text(json.dumps(dataclasses.asdict(TINY)))
    new = tmp_path / "new"
    with pytest.raises(UsageError, match="--resume"):
        train(TINY, folders, run)
    with pytest.raises(UsageError, match="another model: tiny"):
        train(dataclasses.replace(TINY, model="pyramid"), folders, run, resume=True)
    with pytest.raises(UsageError, match="is not a checkpoint"):
        train(TINY, folders, run, resume=True)
    with pytest.raises(UsageError, match="no pictures"):
        train(TINY, [str(empty)], new)
    with pytest.raises(UsageError, match="no folder"):
        train(TINY, folders, new, valid=str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="no checkpoint"):
        train(dataclasses.replace(TINY, init="nothing.pt"), folders, new)
    with pytest.raises(UsageError, match="device 'toaster'"):
        train(TINY, folders, new, device="toaster")
    with pytest.raises(UsageError, match="minutes"):
        train(TINY, folders, new, minutes=0)
    assert not new.exists()


def test_command_line_refusals(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [str(photo_folder), "--output", str(tmp_path / "run")]
    for arguments, message in (
        (["nothing"], "unknown recipe 'nothing'"),
        (["pyramid", "--set", "colour=red"], "no setting 'colour'"),
        (["pyramid", "--set", "batch=two"], "batch needs a value of type int"),
        (["pyramid", "--set", "bfloat16=perhaps"], "bfloat16 needs a value of type bool"),
        (["pyramid", "--set", "batch=0"], "batch must be positive"),
        (["pyramid", "--set", "crop=100"], "crop must be a multiple of 64"),
        (["pyramid", "--set", "lowest_rate=5000"], "rates must rise"),
        (["pyramid", "--set", "learning_rate=inf"], "learning_rate must be finite"),
        (["pyramid", "--set", "strength=nan"], "strength must be finite"),
        (["pyramid", "--set", "threads=-1"], "threads must be from 0"),
        (["pyramid", "--set", "threads=9999"], "threads must be at most"),
        (["pyramid", "--set", f"seed={2**40}"], "seed must be from 0"),
        (["pyramid", "--set", "lossless_share=5"], "lossless_share must be from 0 to 1"),
        (["pyramid", "--set", "model=none"], "there is no model 'none'"),
        (["pyramid", "--device", "toaster"], "device 'toaster'"),
    ):
        assert pliant(["train", arguments[0], *common, *arguments[1:]]) == 2
        assert message in capsys.readouterr().err


def test_overrides_take_the_type_of_the_setting() -> None:
    changed = recipes.get("pyramid", {"batch": "7", "bfloat16": "No", "clip": "2", "init": "x"})
    assert (changed.batch, changed.bfloat16, changed.clip, changed.init) == (7, False, 2.0, "x")


def test_a_checkpoint_must_fit() -> None:
    model = registry.build("tiny")
    state = registry.build("tiny").state_dict()
    checkpoint.load_weights(model, state)
    assert same(dict(model.state_dict()), dict(state))
    low = state.pop("prior.low.weight")
    for changes in ({}, {"prior.low.weight": low[:1]}, {"prior.low.weight": low, "other": low}):
        with pytest.raises(UsageError, match=r"does not fit the model: (prior\.low\.weight|other)"):
            checkpoint.load_weights(model, {**state, **changes})


def test_export_installs_the_average(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "_FOLDER", tmp_path)
    assert export.main(["tiny", start]) == 0
    assert capsys.readouterr().out.startswith("tiny: ")
    index = json.loads((tmp_path / "index.json").read_text())
    installed, average = registry.build("tiny"), registry.build("tiny")
    weights.load(installed, (tmp_path / index["tiny"]["file"]).read_bytes())
    checkpoint.load_average(average, Path(start))
    assert same(weights.to_integers(installed), weights.to_integers(average))
    assert export.main(["tiny", str(tmp_path / "nothing.pt")]) == 2
