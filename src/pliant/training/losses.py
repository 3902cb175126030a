"""What training minimises: the prior's rate, or the distortion that restoration leaves."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from pliant.layers.exact import RateVector
from pliant.models.base import ImageModel
from pliant.priors import walk
from pliant.training.data import Batch
from pliant.training.recipes import Recipe
from pliant.units import RATE_MAX

RATE_BINS = 16
LEAST_ERROR = 0.5  # of a crop; areas of one colour have next to none


def squared_error(found: Tensor, wanted: Tensor) -> Tensor:
    """The mean squared differences (B,) of tensors (B, C, H, W)."""
    return (found - wanted).square().mean((1, 2, 3))


class BalancedLoss(ABC):
    """One cost per picture, made comparable between rates.

    Attributes:
        running: (RATE_BINS,) smoothed cost of each rate bin, fine rates first; the log shows them.
        seen: (RATE_BINS,) how many pictures went into it.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.running = torch.ones(RATE_BINS, dtype=torch.float64)
        self.seen = torch.zeros(RATE_BINS, dtype=torch.float64)

    def start(self, model: ImageModel, image: Tensor) -> None:  # noqa: B027
        """Sets what the loss knows of the weights that an untrained model shall start with.

        Args:
            model: as photos let it start, see `ImageModel.start_from_photos`.
            image: (B, 3, H, W) in 0..255; these photos.
        """

    @abstractmethod
    def __call__(self, model: ImageModel, batch: Batch, progress: float) -> Tensor:
        """The loss of one step at `progress` (0..1) of the schedule."""

    def _smooth(self, cost: Tensor, rate: Tensor) -> Tensor:
        """Puts one value per picture into the running ones; returns those of their bins."""
        bins = torch.div(rate * RATE_BINS, RATE_MAX + 1, rounding_mode="floor").long().tolist()
        for b, v in zip(bins, cost.detach().double().tolist(), strict=True):
            if math.isfinite(v):
                self.seen[b] += 1
                keep = min(0.99, 1 - 1 / float(self.seen[b]))
                self.running[b] = keep * self.running[b] + (1 - keep) * v
        return self.running[bins]

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""
        return {"running": self.running.clone(), "seen": self.seen.clone()}

    def load(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.running, self.seen = state["running"], state["seen"]


class RateLoss(BalancedLoss):
    """Bits per pixel of the symbols, balanced so that every rate counts the same.

    Each picture's cost is divided by the running mean of its rate bin: high rates, with twenty
    times the bits, do not drown low ones.
    """

    def __call__(self, model: ImageModel, batch: Batch, progress: float) -> Tensor:
        image, rate = batch
        strength = 0.0 if progress < self.recipe.plain_share else self.recipe.strength
        vector = RateVector(rate)
        size = (image.shape[2], image.shape[3])
        with torch.no_grad():
            latents = model.transform.analysis(image)
            vector = model.fitted(latents, vector)
            latents = model.scale(latents, vector)
        total, _ = walk.bits(model.prior, latents, size, vector, strength)
        bpp = total / (size[0] * size[1])
        return (bpp / self._smooth(bpp, rate).to(bpp).clamp(min=1e-6)).mean()


class RestorationLoss(BalancedLoss):
    """Squared error of the restored picture as a share of the error without restoration."""

    def __call__(self, model: ImageModel, batch: Batch, progress: float) -> Tensor:
        image, rate = batch
        vector = RateVector(rate)
        size = (image.shape[2], image.shape[3])
        with torch.no_grad():
            latents = model.transform.analysis(image)
            vector = model.fitted(latents, vector)
            latents = model.scale(latents, vector)
            _, parts = walk.bits(model.prior, latents, size, vector, self.recipe.strength)
            symbols = model.prior.merge(parts, size)
            plain = model.synthesised(symbols, vector)
            before = squared_error(plain, image)
        assert model.restoration is not None
        after = squared_error(model.restoration(plain, vector), image)
        share: Tensor = after / before.clamp(min=LEAST_ERROR)
        self._smooth(share, rate)
        return share.mean()


class RateDistortionLoss(BalancedLoss):
    """Bits per pixel plus weighted squared error, with gradients for every part of the model.

    Balle et al., "End-to-end Optimized Image Compression" (ICLR 2017, eq. 2); the surrogate of
    rounding is that of `walk.noisy`.
    """

    def __call__(self, model: ImageModel, batch: Batch, progress: float) -> Tensor:
        image, rate = batch
        total, decoded = model.surrogate(image, RateVector(rate), self.recipe.noisy_synthesis)
        bpp = total / (image.shape[2] * image.shape[3])
        error = squared_error(decoded, image)
        cost: Tensor = bpp + self.recipe.distortion_weight * error
        self._smooth(cost, rate)
        return cost.mean()


PART_LOSSES: dict[str, type[BalancedLoss]] = {
    "prior": RateLoss,
    "restoration": RestorationLoss,
    "everything": RateDistortionLoss,
}
