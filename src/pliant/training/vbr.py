"""Training on from a model of a single rate to one of every rate: several rates in each step.

Kamisli, Racape and Choi, "Variable-Rate Learned Image Compression with Multi-Objective Optimization
and Quantization-Reconstruction Offsets" (DCC 2024). Which levels share a step, and how gradients
are normalised, is not said there; both are settings here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pliant.errors import UsageError
from pliant.layers.exact import RateVector
from pliant.layers.variable import gain_of, level_rates
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.models.variable_rate import SYSTEMS, VariableRateModel
from pliant.training import min_norm
from pliant.training.checkpoint import recipe_beside
from pliant.training.data import Batch
from pliant.training.losses import BalancedLoss, squared_error
from pliant.training.recipes import Recipe

KEPT = 0.9  # of the running norms of gradients, with each step


class LevelsLoss(BalancedLoss):
    """Rate and weighted distortion of the same pictures at several levels, as one loss.

    The scheme "random" takes one level, "uniform" the mean of several, "min-norm" weighs them so
    that the gradients of the synthesis and the hyper synthesis add up to the shortest vector.

    Attributes:
        norms: (levels,) running norms of the gradients of each level; 0 before the first.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.norms = torch.zeros(8, dtype=torch.float64)

    def __call__(self, model: ImageModel, batch: Batch, progress: float) -> Tensor:
        """See `BalancedLoss`; the rates of the batch are not used."""
        assert isinstance(model, VariableRateModel)
        image = batch.image
        chosen = self.levels(len(level_rates()))
        latents = model.transform.analysis(image)
        losses = [self._loss(model, image, latents, model.drawn_rate(level)) for level in chosen]
        if self.recipe.scheme == "min-norm":
            return self._weighted(losses, chosen, model)
        return torch.stack(losses).mean()

    def levels(self, count: int) -> list[int]:
        """The levels of one step: of several, one of the two coarsest and one of the two finest."""
        if self.recipe.scheme == "random":
            return [int(torch.randint(count, (1,)))]
        if self.recipe.levels >= count:
            return list(range(count))
        order = torch.randperm(count).tolist()
        ends = [next(k for k in order if k < 2), next(k for k in order if k >= count - 2)]
        rest = [k for k in order if k not in ends]
        return sorted(ends + rest[: self.recipe.levels - 2])

    def _loss(
        self, model: VariableRateModel, image: Tensor, latents: list[Tensor], parameter: int
    ) -> Tensor:
        """Bits per pixel plus distortion, weighted by the square of the rate parameter's gain."""
        size = (image.shape[2], image.shape[3])
        rate = image.new_full((len(image),), parameter, dtype=torch.float64)
        total, decoded = model.surrogate_of(latents, size, RateVector(rate))
        error = squared_error(decoded, image)
        weight = self.recipe.distortion_weight * gain_of(rate).to(error).square()
        cost = total / (size[0] * size[1]) + weight * error
        self._smooth(cost, rate)
        return cost.mean()

    def _weighted(
        self, losses: list[Tensor], chosen: list[int], model: VariableRateModel
    ) -> Tensor:
        """The sum of weighted losses; only for the small networks, which tell rates apart, a mean.

        Weights come from the gradients in the synthesis and the hyper synthesis alone.
        """
        shared, added = model.shared(), model.added()
        rows, own = [], []
        for loss in losses:
            found = torch.autograd.grad(loss, shared + added, retain_graph=True)
            rows.append(torch.cat([g.flatten() for g in found[: len(shared)]]))
            own.append(found[len(shared) :])
        matrix = torch.stack(rows).double()
        shares = self.shares((matrix @ matrix.T).cpu().numpy(), losses, chosen).to(losses[0])
        total = (shares * torch.stack(losses)).sum()
        rest = 1 / len(losses) - shares
        for number, parameter in enumerate(added):  # adds nothing but what gradients lack
            lacking = torch.stack([r * g[number] for r, g in zip(rest, own, strict=True)]).sum(0)
            total = total + (lacking * (parameter - parameter.detach())).sum()
        return total

    def shares(self, gram: min_norm.Vector, losses: list[Tensor], chosen: list[int]) -> Tensor:
        """Weights of the losses, together 1, from the inner products of their gradients."""
        if not np.isfinite(gram).all():  # the step will be skipped
            return torch.full((len(losses),), 1 / len(losses))
        norms = self._running(np.sqrt(np.diag(gram)), chosen)
        values = np.array([float(loss.detach()) for loss in losses])
        scale = min_norm.scales(self.recipe.normalisation, values, norms)
        found_weights = min_norm.weights(gram / np.outer(scale, scale)) / scale
        return torch.from_numpy(found_weights / found_weights.sum())

    def _running(self, norms: min_norm.Vector, chosen: list[int]) -> min_norm.Vector:
        """Puts norms into the running ones; returns these."""
        for level, norm in zip(chosen, norms.tolist(), strict=True):
            before = float(self.norms[level])
            self.norms[level] = KEPT * before + (1 - KEPT) * norm if before else norm
        running: min_norm.Vector = self.norms[chosen].numpy()
        return running

    def state(self) -> dict[str, Any]:
        """See `BalancedLoss`."""
        return {**super().state(), "norms": self.norms.clone()}

    def load(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        super().load(state)
        self.norms = state["norms"]


def settings_from(checkpoint: Path) -> dict[str, str]:
    """Settings that follow from the run that a checkpoint lies in: the model, and what it was for.

    The run's weight of distortion is that of the finest rate. Nothing follows where the checkpoint
    lies alone.

    Raises:
        UsageError: there is no variable-rate model of this kind.
    """
    before = recipe_beside(checkpoint)
    if not before:
        return {}
    base = registry.entry(str(before["model"]))
    fitting = [e.name for e in registry.MODELS.values() if e is base or _builds_on(e, base)]
    variable = [name for name in fitting if registry.MODELS[name].build is VariableRateModel]
    if not variable:
        raise UsageError(f"{checkpoint} is of {base.name}, which has no variable-rate model")
    return {"model": variable[0], "distortion_weight": str(before["distortion_weight"])}


def _builds_on(entry: registry.Entry, base: registry.Entry) -> bool:
    """Whether a variable-rate model has this single-rate one within."""
    config = dict(entry.config)
    system, _ = config.pop("system", None), config.pop("method", None)
    return system is not None and SYSTEMS[system] is base.build and config == base.config
