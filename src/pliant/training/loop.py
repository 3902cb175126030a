"""The training loop: one for every recipe, on CPU or one GPU, with exact resume and a time budget."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pliant.errors import PliantError, UsageError
from pliant.layers.exact import RateVector
from pliant.layers.quantize import step_size
from pliant.training.data import PhotoStore
from pliant.training import recipes
from pliant.training.recipes import Recipe

RATE_BINS = 16
MAX_SKIPPED = 50


class Objective:
    """Loss of one batch, balanced so that every rate counts the same.

    Each picture's loss is divided by the running mean of its rate bin: high rates, with twenty times the bits, do
    not drown low ones.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.running = torch.ones(RATE_BINS, dtype=torch.float64)
        self.seen = torch.zeros(RATE_BINS, dtype=torch.float64)

    def rates(self, rng: np.random.Generator) -> Tensor:
        """One rate parameter per picture, spread evenly over the batch."""
        r = self.recipe
        cells = (np.arange(r.batch) + rng.random(r.batch)) / r.batch
        rng.shuffle(cells)
        return torch.from_numpy(np.floor(r.lowest_rate + cells * (r.highest_rate - r.lowest_rate)))

    def __call__(self, model: Any, image: Tensor, rate: Tensor, progress: float) -> Tensor:
        r = self.recipe
        strength = 0.0 if progress < r.plain_share else r.strength
        vector = RateVector(rate)
        if r.stage == "prior":
            from pliant.priors.walk import bits

            size = (image.shape[2], image.shape[3])
            with torch.no_grad():
                latents = model.scale(model.transform.analysis(image), vector)
            total, _ = bits(model.prior, latents, size, vector, strength)
            values = total / (size[0] * size[1])
        else:
            _, decoded = model.round_trip(image, vector, strength)
            values = ((decoded - image) ** 2).mean((1, 2, 3)) / step_size(rate) ** 2
        return self._balance(values, rate)

    def _balance(self, values: Tensor, rate: Tensor) -> Tensor:
        bins = (rate / 2048 * RATE_BINS).long().cpu()
        for b, v in zip(bins.tolist(), values.detach().double().cpu().tolist(), strict=True):
            if math.isfinite(v):
                self.seen[b] += 1
                keep = min(0.99, 1 - 1 / float(self.seen[b]))
                self.running[b] = keep * self.running[b] + (1 - keep) * v
        return (values / self.running[bins].to(values).clamp(min=1e-6)).mean()


class Trainer:
    """State of one run: model, average, optimiser, random numbers, clock."""

    def __init__(self, recipe: Recipe, folders: Sequence[str], output: Path, device: str) -> None:
        from pliant.models import registry

        torch.manual_seed(recipe.seed)
        self.recipe, self.output = recipe, output
        self.device = torch.device(device)
        self.model = registry.build(recipe.model).to(self.device)
        if recipe.init:
            load_average(self.model, Path(recipe.init))
        self.trained = self._select()
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.trained, lr=recipe.learning_rate, betas=(0.9, 0.99), fused=True)
        self.objective = Objective(recipe)
        self.rng = np.random.default_rng(recipe.seed)
        cache = Path(os.environ.get("PLIANT_CACHE", ".cache"))
        self.store = PhotoStore(folders, cache, recipe.crop)
        self.step, self.elapsed, self.skipped = 0, 0.0, 0

    def _select(self) -> list[nn.Parameter]:
        parts: dict[str, nn.Module] = {"prior": self.model.prior, "restore": self.model.transform.restore}
        if self.recipe.stage not in parts:
            raise UsageError(f"unknown stage {self.recipe.stage!r}; there are: {', '.join(parts)}")
        self.model.requires_grad_(False)
        chosen = parts[self.recipe.stage].requires_grad_(True)
        if self.recipe.bfloat16 and self.recipe.stage == "prior":
            self.model.prior.dtype = torch.bfloat16
        return list(chosen.parameters())

    def progress(self, minutes: float | None) -> float:
        """How much of the schedule is done, 0..1."""
        return self.elapsed / (minutes * 60) if minutes else self.step / self.recipe.steps

    def one_step(self, progress: float) -> tuple[float, float]:
        """One update; returns loss and gradient norm. A step that is not finite is skipped and counted."""
        r = self.recipe
        started = time.monotonic()
        rate = self.objective.rates(self.rng)
        share = [r.lossless_share if x < r.high_rate else 0.0 for x in rate.tolist()]
        image = self.store.batch(self.rng, r.batch, r.crop, share).to(self.device)
        decay = r.final_learning_rate + (1 - r.final_learning_rate) * 0.5 * (1 + math.cos(math.pi * min(1, progress)))
        for group in self.optimiser.param_groups:
            group["lr"] = r.learning_rate * decay * min(1.0, (self.step + 1) / r.warmup)
        loss = self.objective(self.model, image, rate.to(self.device), progress)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self._clip()
        if math.isfinite(norm) and math.isfinite(float(loss.detach())):
            self.optimiser.step()
            self._update_average()
        else:
            self.skipped += 1
            if self.skipped > MAX_SKIPPED:
                raise PliantError("training diverged: more than 50 steps were not finite")
        self.step += 1
        # a process that was stopped for a while must not believe that it has trained
        self.elapsed += min(time.monotonic() - started, 30.0 if self.step < 10 else 10 * self.elapsed / self.step)
        return float(loss.detach()), norm

    def _clip(self) -> float:
        """Clips the gradient of each tensor by itself: a few heads with large gradients must not starve the rest."""
        norms = [float(nn.utils.clip_grad_norm_([p], self.recipe.clip)) for p in self.trained]
        return math.sqrt(sum(n * n for n in norms))

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.recipe.ema, 1 - 10 / (self.step + 20))
        for a, p in zip(self.average.parameters(), self.model.parameters(), strict=True):
            if p.requires_grad:
                a.lerp_(p, 1 - keep)

    def state(self) -> dict[str, Any]:
        """Everything that an exact resume needs."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "running": self.objective.running,
            "seen": self.objective.seen,
            "rng": json.dumps(self.rng.bit_generator.state),
            "torch_rng": torch.get_rng_state(),
            "step": self.step,
            "elapsed": self.elapsed,
            "skipped": self.skipped,
        }

    def save(self) -> None:
        """Writes the checkpoint atomically."""
        target = self.output / "checkpoint.pt"
        torch.save(self.state(), target.with_suffix(".partial"))
        os.replace(target.with_suffix(".partial"), target)

    def load(self) -> None:
        """Continues from the checkpoint of the run folder."""
        state = torch.load(self.output / "checkpoint.pt", map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.objective.running, self.objective.seen = state["running"].cpu(), state["seen"].cpu()
        self.rng.bit_generator.state = json.loads(state["rng"])
        torch.set_rng_state(state["torch_rng"].cpu())
        self.step, self.elapsed, self.skipped = state["step"], state["elapsed"], state["skipped"]


def load_average(model: nn.Module, checkpoint: Path) -> None:
    """Loads the averaged weights of a training checkpoint into `model`."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model.load_state_dict(state["average"], strict=False)


def train(
    recipe: Recipe,
    folders: Sequence[str],
    output: Path,
    *,
    minutes: float | None = None,
    resume: bool = False,
    device: str = "cpu",
) -> None:
    """Trains one recipe; the run folder gets recipe, log, checkpoint and snapshots of the averaged weights."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    output.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, folders, output, device)
    if resume and (output / "checkpoint.pt").exists():
        trainer.load()
    (output / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe), indent=1))
    smooth = 0.0
    with (output / "log.txt").open("a") as log:
        while (progress := trainer.progress(minutes)) < 1:
            loss, norm = trainer.one_step(progress)
            smooth = loss if not smooth else 0.98 * smooth + 0.02 * loss
            if trainer.step % 50 == 0:
                bins = " ".join(f"{x:.4f}" for x in trainer.objective.running.tolist())
                log.write(f"step {trainer.step} minutes {trainer.elapsed / 60:.2f} loss {smooth:.4f} norm {norm:.3f} ")
                log.write(f"skipped {trainer.skipped} values {bins}\n")
                log.flush()
            if trainer.step % recipe.save_every == 0:
                trainer.save()
            if trainer.step % recipe.validate_every == 0:
                torch.save({"average": trainer.average.state_dict()}, output / f"average-{trainer.step:06d}.pt")
    trainer.save()


def main(
    recipe: str,
    data_dirs: Sequence[str],
    *,
    minutes: float | None = None,
    output: str | None = None,
    resume: bool = False,
    device: str = "cpu",
    overrides: Mapping[str, str] | None = None,
) -> None:
    """What `pliant train` runs."""
    chosen = recipes.get(recipe, overrides)
    train(chosen, data_dirs, Path(output or f"runs/{recipe}"), minutes=minutes, resume=resume, device=device)
