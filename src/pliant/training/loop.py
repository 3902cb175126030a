"""The training loop: one for every recipe, on CPU or one GPU, with exact resume and time budget."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pliant.errors import MissingError, PliantError, UsageError
from pliant.files import check_folder, make_folder
from pliant.layers.quantize import step_for
from pliant.models import registry
from pliant.training import principal, recipes, side_start, validate
from pliant.training.anchors import AnchorsLoss
from pliant.training.checkpoint import RECIPE, State, load_weights, recipe_beside
from pliant.training.checkpoint import read_checkpoint as read
from pliant.training.data import Batches, PhotoStore, cache_folder
from pliant.training.distillation import DistillationLoss, settings_of_teacher
from pliant.training.journal import Journal, stop_signals
from pliant.training.losses import PART_LOSSES, BalancedLoss
from pliant.training.optimiser import Optimiser
from pliant.training.recipes import LEVEL_SCHEMES, Recipe
from pliant.training.vbr import LevelsLoss, settings_from

CHECKPOINT = "checkpoint.pt"
INSTALLED = "installed"  # as `init`: start from the weights in the package
COMPONENT_CROPS = 64  # that first weights come from
MAX_SKIPPED = 50  # in a row
LOG_EVERY = 50
LOSSES: dict[str, type[BalancedLoss]] = {
    **PART_LOSSES,
    **dict.fromkeys(LEVEL_SCHEMES, LevelsLoss),
    "anchors": AnchorsLoss,
    "distillation": DistillationLoss,
}
LONGEST_PAUSE = 600.0  # seconds between two steps that count as work (saving, validation)


class Trainer:
    """State of one run: model, average, optimiser, random numbers, clock.

    Raises:
        UsageError: no data, an unknown model or device, or no checkpoint to start from.
    """

    def __init__(
        self, recipe: Recipe, folders: Sequence[str], output: Path, device: str = "cpu"
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.output = recipe, output
        self.device = usable_device(device)
        self.model: Any = registry.build(recipe.model)
        self.objective = LOSSES[recipe.scheme or recipe.part](recipe)
        self.store = PhotoStore(folders, cache_folder(), recipe.crop)
        if recipe.init:
            self._start_from(recipe.init)
        elif recipe.part == "everything":
            self._start_from_photos()
            self.model.load_state_dict(self.objective.known(self.model), strict=False)
        self.model.to(self.device)
        self._select()
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimiser = Optimiser(
            self.part, recipe.learning_rate, recipe.matrix_learning_rate, recipe.clip
        )
        self.batches = Batches(self._draw, recipe.seed, self.device)
        self.step, self.elapsed, self.skipped, self._in_a_row = 0, 0.0, 0, 0

    def _start_from(self, init: str) -> None:
        if init == INSTALLED:
            load_weights(self.model, registry.load(self.recipe.model).model.state_dict())
        else:
            load_weights(self.model, self.model.adopted(read(Path(init))["average"]))

    def _start_from_photos(self) -> None:
        components = principal.applies(self.model.transform)
        if not components and not self.model.starts_from_photos:
            return
        rng = np.random.default_rng(self.recipe.seed)
        crops = self.store.batch(rng, self.recipe.crop, [0.0] * COMPONENT_CROPS)
        image, weight = torch.from_numpy(crops).float(), self.recipe.distortion_weight
        if components:
            principal.start(self.model.transform, image, step_for(weight))
        if self.model.starts_from_photos:
            self.model.start_from_photos(image, weight)
        if side_start.applies(self.model):
            side_start.start(self.model, image)

    @property
    def part(self) -> torch.nn.Module:
        """The part of the model that is trained."""
        if self.recipe.part == "everything":
            whole: torch.nn.Module = self.model
            return whole
        part: torch.nn.Module | None = getattr(self.model, self.recipe.part)
        if part is None:
            raise UsageError(f"the model {self.recipe.model} has no {self.recipe.part}")
        return part

    def _select(self) -> None:
        """Gives gradients to the parameters of the trained part, and only to them."""
        self.model.requires_grad_(False)
        if self.recipe.bfloat16:
            self.model.dtype = torch.bfloat16
        self.part.requires_grad_(True)
        without = set(recipes.names(self.recipe.without))
        for name, parameter in self.model.named_parameters():
            if without & set(name.split(".")):
                parameter.requires_grad_(False)

    def _draw(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """One batch: rates spread evenly, crops at random."""
        r = self.recipe
        cells = (np.arange(r.batch) + rng.random(r.batch)) / r.batch
        rng.shuffle(cells)
        rates = np.floor(r.lowest_rate + cells * (r.highest_rate - r.lowest_rate))
        share = [r.lossless_share if x < r.high_rate else 0.0 for x in rates.tolist()]
        return self.store.batch(rng, r.crop, share), rates

    def progress(self, minutes: float | None) -> float:
        """How much of the schedule is done, 0..1."""
        return self.elapsed / (minutes * 60) if minutes else self.step / self.recipe.steps

    def rate_share(self, progress: float) -> float:
        """Share of the learning rates: cosine from 1 to the final one, after a linear rise."""
        r = self.recipe
        wave = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        decay = r.final_learning_rate + (1 - r.final_learning_rate) * wave
        return decay * min(1.0, (self.step + 1) / r.warmup)

    def one_step(self, progress: float) -> tuple[float, float]:
        """One update; returns loss and gradient norm. One that is not finite is skipped."""
        started = time.monotonic()
        loss = self.objective(self.model, self.batches.take(), progress)
        self.model.zero_grad()
        loss.backward()
        total, norm = torch.stack((loss.detach().float(), self.optimiser.clip())).tolist()
        if math.isfinite(norm) and math.isfinite(total):
            self.optimiser.step(self.rate_share(progress))
            self._update_average()
            self._in_a_row = 0
        else:
            self.skipped += 1
            self._in_a_row += 1
            if self._in_a_row > MAX_SKIPPED:
                raise PliantError(
                    f"training diverged at step {self.step}: {self._in_a_row} steps in a row were "
                    "not finite; the last checkpoint is kept"
                )
        self.step += 1
        # a process that was stopped for a while must not believe that it has trained
        most = 30.0 if self.step < 10 else max(5.0, 10 * self.elapsed / self.step)
        self.elapsed += min(time.monotonic() - started, most)
        return total, norm

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.recipe.ema, 1 - 10 / (self.step + 20))
        for a, p in zip(self.average.parameters(), self.model.parameters(), strict=True):
            if p.requires_grad:
                a.lerp_(p, 1 - keep)

    def state(self) -> State:
        """Everything that an exact resume needs."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state(),
            **self.objective.state(),
            "rng": json.dumps(self.batches.state),
            "torch_rng": torch.get_rng_state(),
            "step": self.step,
            "elapsed": self.elapsed,
            "skipped": self.skipped,
        }

    def save(self) -> None:
        """Writes the checkpoint atomically."""
        self.average.settle()
        target = self.output / CHECKPOINT
        torch.save(self.state(), target.with_suffix(".partial"))
        os.replace(target.with_suffix(".partial"), target)

    def snapshot(self) -> None:
        """Writes the averaged weights beside the checkpoint."""
        self.average.settle()
        name = f"average-{self.step:06d}.pt"
        torch.save({"average": self.average.state_dict()}, self.output / name)

    def load(self) -> None:
        """Continues from the checkpoint of the run folder."""
        state = read(self.output / CHECKPOINT)
        load_weights(self.model, state["model"])
        load_weights(self.average, state["average"])
        self.optimiser.load(state["optimiser"])
        self.objective.load(state)
        torch.set_rng_state(state["torch_rng"])
        self.batches.close()
        self.batches = Batches(self._draw, json.loads(state["rng"]), self.device)
        self.step, self.elapsed, self.skipped = state["step"], state["elapsed"], state["skipped"]


def usable_device(name: str) -> torch.device:
    """The device called `name`.

    Raises:
        UsageError: there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"the device {name!r} cannot be used: {reason}") from None
    return device


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
