"""The training loop: one for every recipe, on CPU or one GPU, with exact resume and time budget."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from pliant.errors import MissingError, UsageError
from pliant.files import check_folder, make_folder
from pliant.training import recipes, validate
from pliant.training.checkpoint import RECIPE, recipe_beside
from pliant.training.distillation import settings_of_teacher
from pliant.training.journal import Journal, stop_signals
from pliant.training.recipes import LEVEL_SCHEMES, Recipe
from pliant.training.trainer import CHECKPOINT, Trainer
from pliant.training.vbr import settings_from

LOG_EVERY = 50
LONGEST_PAUSE = 600.0  # seconds between two steps that count as work (saving, validation)


class Run:
    """Steps, log lines, checkpoints and validation of one run until its schedule ends."""

    def __init__(
        self, trainer: Trainer, journal: Journal, validation: validate.Validation | None
    ) -> None:
        self.trainer, self.journal, self.validation = trainer, journal, validation

    def work(self, minutes: float | None, stopped: Callable[[], bool]) -> None:
        """Trains until the schedule ends or `stopped` says so; saves at the end of either."""
        trainer, recipe = self.trainer, self.trainer.recipe
        smooth, mark, mark_step = math.nan, trainer.elapsed, trainer.step
        while (progress := trainer.progress(minutes)) < 1 and not stopped():
            loss, norm = trainer.one_step(progress)
            started = time.monotonic()
            if math.isfinite(loss):
                smooth = 0.98 * smooth + 0.02 * loss if math.isfinite(smooth) else loss
            self.journal.show(progress, f"step {trainer.step} loss {smooth:.4f}")
            if trainer.step % LOG_EVERY == 0:
                speed = (trainer.step - mark_step) / max(trainer.elapsed - mark, 1e-9)
                mark, mark_step = trainer.elapsed, trainer.step
                self.journal.note(self._line(smooth, norm, speed, progress))
            if trainer.step % recipe.save_every == 0:
                trainer.save()
            if trainer.step % recipe.validate_every == 0:
                trainer.snapshot()
                self._validate()
            trainer.elapsed += min(time.monotonic() - started, LONGEST_PAUSE)
        trainer.save()
        if not stopped():
            trainer.snapshot()
            self._validate()
            self._plot()

    def _line(self, loss: float, norm: float, speed: float, progress: float) -> str:
        t = self.trainer
        values = " ".join(f"{x:.4f}" for x in t.objective.running.tolist())
        return (
            f"step {t.step} minutes {t.elapsed / 60:.2f} loss {loss:.4f} norm {norm:.3f} "
            f"skipped {t.skipped} rates {t.rate_share(progress):.3f} steps/s {speed:.2f} "
            f"values {values}"
        )

    def _validate(self) -> None:
        if self.validation is not None:
            points = self.validation.points(self.trainer.average)
            step, minutes = self.trainer.step, self.trainer.elapsed / 60
            validate.record(self.trainer.output, step, minutes, points)
            self.journal.note(f"valid {step} minutes {minutes:.2f} {validate.line(points)}")

    def _plot(self) -> None:
        if self.validation is not None:
            try:
                validate.plot(self.trainer.output, self.trainer.recipe.name)
            except MissingError as error:
                self.journal.note(f"no plot: {error}")


def train(
    recipe: Recipe,
    folders: Sequence[str],
    output: Path,
    *,
    minutes: float | None = None,
    resume: bool = False,
    device: str = "cpu",
    valid: str | None = None,
) -> None:
    """Trains one recipe into a run folder: recipe, log, checkpoint, snapshots, validation.

    Args:
        recipe: what to train.
        folders: photos.
        output: the run folder.
        minutes: length of the schedule in time instead of steps, earlier parts of the run included.
        resume: go on from the folder's checkpoint, if there is one.
        device: cpu, cuda, cuda:1 ...
        valid: folder of photos for validation.

    Raises:
        UsageError: the request makes no sense. PliantError: the training diverged.
        KeyboardInterrupt: it was interrupted, after the checkpoint was written.
    """
    recipes.check(recipe)
    if minutes is not None and not minutes > 0:
        raise UsageError("minutes must be positive")
    check_folder(output)
    going_on = _check_run(recipe, output, resume)
    validation = validate.Validation(valid) if valid else None
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.backends.cudnn.deterministic = True
    trainer = Trainer(recipe, folders, output, device)
    try:
        if going_on:
            trainer.load()
        make_folder(output)
        settings = json.dumps(dataclasses.asdict(recipe), indent=1)
        journal = Journal(output)
        try:
            for name in trainer.store.unreadable:
                journal.note(f"left out, not a picture: {name}")
            if going_on and (output / RECIPE).read_text() != settings:
                journal.note(f"step {trainer.step} goes on with other settings")
            (output / RECIPE).write_text(settings)
            with stop_signals() as stopped:
                Run(trainer, journal, validation).work(minutes, stopped)
                if stopped():
                    raise KeyboardInterrupt
        finally:
            journal.close()
    finally:
        trainer.batches.close()


def _check_run(recipe: Recipe, output: Path, resume: bool) -> bool:
    """Whether the run folder holds a run that goes on."""
    exists = (output / CHECKPOINT).exists()
    if exists and not resume:
        raise UsageError(f"{output} holds a run already: --resume goes on with it")
    before = recipe_beside(output / CHECKPOINT).get("model", recipe.model)
    if exists and before != recipe.model:
        raise UsageError(f"{output} holds a run of another model: {before}")
    return exists


def main(
    recipe: str,
    data_dirs: Sequence[str],
    *,
    minutes: float | None = None,
    output: str | None = None,
    resume: bool = False,
    device: str = "cpu",
    overrides: Mapping[str, str] | None = None,
    valid: str | None = None,
    start: str | None = None,
) -> None:
    """What `pliant train` runs.

    Raises:
        UsageError: as `train`, or a recipe that needs a checkpoint to start from has none.
    """
    settings = {**settings_of_teacher(dict(overrides or {})), **(overrides or {})}
    variable = recipes.get(recipe, settings).scheme in LEVEL_SCHEMES
    if start is not None:
        settings = {"init": start, **settings}
        if variable:
            settings = {**settings_from(Path(start)), **settings}
    elif variable and not resume and not settings.get("init"):
        raise UsageError(f"the recipe {recipe} starts from a trained model: give it with --from")
    train(
        recipes.get(recipe, settings),
        data_dirs,
        Path(output or f"runs/{recipe}"),
        minutes=minutes,
        resume=resume,
        device=device,
        valid=valid,
    )
