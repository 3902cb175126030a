"""What a stage minimises: the prior's rate, or the error that the restoration network leaves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pliant.layers.exact import RateVector
from pliant.priors import walk
from pliant.training.data import Batch
from pliant.training.recipes import Recipe
from pliant.training.replay import ReplayPool
from pliant.units import RATE_MAX

RATE_BINS = 16
SMALLEST_ERROR = 1.0  # mean squared; below it a picture has nothing to restore

Take = Callable[[], Batch]


class Objective:
    """Loss of one step. Keeps smoothed values by rate, which the log shows.

    Attributes:
        running: (RATE_BINS,) smoothed value of each rate bin, fine rates first; what it is depends
            on the stage.
        seen: (RATE_BINS,) how many pictures went into it.
    """

    def __init__(self, recipe: Recipe, start: float) -> None:
        self.recipe = recipe
        self.running = torch.full((RATE_BINS,), start, dtype=torch.float64)
        self.seen = torch.zeros(RATE_BINS, dtype=torch.float64)

    def __call__(self, model: Any, take: Take, step: int, progress: float) -> Tensor:
        """The loss of step number `step`; `take` gives the next batch of fresh pictures."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""
        return {"running": self.running.clone(), "seen": self.seen.clone()}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Inverse of `state`; what the steps need goes to `device`."""
        self.running, self.seen = state["running"].cpu(), state["seen"].cpu()

    def smooth(self, values: Tensor, rate: Tensor) -> Tensor:
        """Puts one value per picture into the running ones; returns those of their bins."""
        bins = torch.div(rate * RATE_BINS, RATE_MAX + 1, rounding_mode="floor").long().tolist()
        for b, v in zip(bins, values.detach().double().tolist(), strict=True):
            if math.isfinite(v):
                self.seen[b] += 1
                keep = min(0.99, 1 - 1 / float(self.seen[b]))
                self.running[b] = keep * self.running[b] + (1 - keep) * v
        return self.running[bins]


class PriorObjective(Objective):
    """Bits per pixel of the symbols, balanced so that every rate counts the same.

    Each picture's cost is divided by the running mean of its rate bin: high rates, with twenty
    times the bits, do not drown low ones.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, 1.0)

    def __call__(self, model: Any, take: Take, step: int, progress: float) -> Tensor:
        image, rate = take()
        strength = 0.0 if progress < self.recipe.plain_share else self.recipe.strength
        vector = RateVector(rate)
        size = (image.shape[2], image.shape[3])
        with torch.no_grad():
            latents = model.scale(model.transform.analysis(image), vector)
        total, _ = walk.bits(model.prior, latents, size, vector, strength)
        values = total / (size[0] * size[1])
        return (values / self.smooth(values, rate).to(values).clamp(min=1e-6)).mean()


class RestoreObjective(Objective):
    """Mean squared error after restoration over that before: every rate and picture counts alike.

    Decoding through the prior costs several times what the restoration network costs, so decoded
    pictures are kept in a pool and used many times. The running values are gains in dB.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, 0.0)
        self.pool = ReplayPool(recipe.pool * recipe.batch)
        self.rng = np.random.default_rng(recipe.seed + 1)

    def __call__(self, model: Any, take: Take, step: int, progress: float) -> Tensor:
        r = self.recipe
        if step % r.fresh_every == 0 or len(self.pool) < min(r.pool, r.pool_start) * r.batch:
            self._refresh(model, take())
        decoded, original, rate = self.pool.crops(self.rng, r.pool_crops, r.pool_crop)
        restored: Tensor = model.transform.restore(decoded, RateVector(rate))
        before = (decoded - original).square().mean((1, 2, 3))
        after = (restored - original).square().mean((1, 2, 3))
        floor = before.clamp(min=SMALLEST_ERROR)
        self.smooth(10 * torch.log10(floor / after.detach().clamp(min=1e-9)), rate)
        return (after / floor).mean()

    @torch.no_grad()
    def _refresh(self, model: Any, batch: Batch) -> None:
        image, rate = batch
        vector = RateVector(rate)
        size = (image.shape[2], image.shape[3])
        latents = model.scale(model.transform.analysis(image), vector)
        _, parts = walk.bits(model.prior, latents, size, vector, self.recipe.strength)
        symbols = model.prior.merge(parts, size)
        self.pool.add(model.transform.inverse(model.unscale(symbols, vector)), image, rate)

    def state(self) -> dict[str, Any]:
        rng = json.dumps(self.rng.bit_generator.state)
        return {**super().state(), "pool": {**self.pool.state(), "rng": rng}}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        super().load(state, device)
        self.pool.load(state["pool"], device)
        self.rng.bit_generator.state = json.loads(state["pool"]["rng"])


OBJECTIVES: dict[str, type[PriorObjective] | type[RestoreObjective]] = {
    "prior": PriorObjective,
    "restore": RestoreObjective,
}
