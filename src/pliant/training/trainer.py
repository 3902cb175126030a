"""State of one training run: model, average, optimiser, random numbers, clock; one step of it."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pliant.errors import PliantError, UsageError
from pliant.layers.exact import project
from pliant.layers.quantize import step_for
from pliant.models import registry
from pliant.training import principal, recipes, side_start
from pliant.training.anchors import AnchorsLoss
from pliant.training.checkpoint import State, load_weights
from pliant.training.checkpoint import read_checkpoint as read
from pliant.training.data import Batches, PhotoStore, cache_folder
from pliant.training.distillation import DistillationLoss
from pliant.training.losses import PART_LOSSES, BalancedLoss
from pliant.training.optimiser import Optimiser
from pliant.training.recipes import LEVEL_SCHEMES, Recipe
from pliant.training.vbr import LevelsLoss

CHECKPOINT = "checkpoint.pt"
INSTALLED = "installed"  # as `init`: start from the weights in the package
COMPONENT_CROPS = 64  # that first weights come from
MAX_SKIPPED = 50  # in a row
LOSSES: dict[str, type[BalancedLoss]] = {
    **PART_LOSSES,
    **dict.fromkeys(LEVEL_SCHEMES, LevelsLoss),
    "anchors": AnchorsLoss,
    "distillation": DistillationLoss,
}


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
        self.device = registry.usable_device(device)
        self.model: Any = registry.build(recipe.model)
        self.objective = LOSSES[recipe.scheme or recipe.part](recipe)
        self.store = PhotoStore(folders, cache_folder(), recipe.crop)
        if recipe.init:
            self._start_from(recipe.init)
            project(self.model)  # stored weights are the grids' integers; the log of none is -inf
        elif recipe.part == "everything":
            self._start_from_photos()
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
        rng = np.random.default_rng(self.recipe.seed)
        crops = self.store.batch(rng, self.recipe.crop, [0.0] * COMPONENT_CROPS)
        image, weight = torch.from_numpy(crops).float(), self.recipe.distortion_weight
        if principal.applies(self.model.transform):
            principal.start(self.model.transform, image, step_for(weight))
        self.model.start_from_photos(image, weight)
        if side_start.applies(self.model):
            side_start.start(self.model, image)
        self.objective.start(self.model, image)

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
