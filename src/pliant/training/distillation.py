"""Training with a teacher: an autoencoder of the same rate, whose latent the student's shall be.

Wang et al., "Modeling Lost Information in Lossy Image Compression" (2020, arXiv 2006.11999).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pliant.errors import UsageError
from pliant.layers.exact import RateVector
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.models.ilc import IlcModel
from pliant.training.checkpoint import load_average, recipe_beside
from pliant.training.data import Batch
from pliant.training.losses import BalancedLoss, squared_error
from pliant.training.recipes import Recipe


class DistillationLoss(BalancedLoss):
    """Bits per pixel, squared error, energy of what is not coded, distance to the teacher's y.

    Weighted by 1, `distortion_weight`, `side_weight` and `distillation` of the recipe. The energy
    is the paper's cross entropy with a normal distribution, less a constant. Not the paper's, and
    off by default: the squared error that its lack makes in the picture, `side_distortion_weight`.

    Attributes:
        teacher: None without one; never trained.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.teacher = load_teacher(Path(recipe.teacher)) if recipe.teacher else None

    def start(self, model: ImageModel, image: Tensor) -> None:
        """See `BalancedLoss`: the student has the teacher's prior at first, and nearly its y.

        Raises:
            UsageError: their priors differ in kind or size, or the model is no flow.
        """
        if self.teacher is None:
            return
        own, other = _prior(model), _prior(self.teacher)
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in other.items()}:
            raise UsageError("the latent of the teacher is not like the student's")
        model.load_state_dict(other, strict=False)
        if self.recipe.distillation:
            _student(model).flow.meet(image, self._taught(image))

    def __call__(self, model: ImageModel, batch: Batch, progress: float) -> Tensor:
        """See `BalancedLoss`."""
        image, rate = batch
        size = (image.shape[2], image.shape[3])
        flow, worth = _student(model).flow, self.recipe.distortion_weight
        y, z = flow.parts(image)
        total, decoded = model.surrogate_of([y], size, RateVector(rate))
        cost = total / (size[0] * size[1]) + worth * squared_error(decoded, image)
        cost = cost + self.recipe.side_weight * 0.5 * z.square().mean((1, 2, 3))
        if self.recipe.side_distortion_weight:
            lost = squared_error(flow.synthesis([y]), image)
            cost = cost + self.recipe.side_distortion_weight * worth * lost
        if self.teacher is not None:
            cost = cost + self.recipe.distillation * squared_error(y, self._taught(image))
        self._smooth(cost, rate)
        return cost.mean()

    def _taught(self, image: Tensor) -> Tensor:
        assert self.teacher is not None
        with torch.no_grad():
            return self.teacher.to(image.device).transform.analysis(image)[0]


def load_teacher(checkpoint: Path) -> ImageModel:
    """The averaged weights of a run.

    Raises:
        UsageError: it is no checkpoint, or no recipe beside it says of which model.
    """
    name = recipe_beside(checkpoint).get("model")
    if name is None:
        raise UsageError(f"the teacher {checkpoint} has no recipe beside it")
    teacher = registry.build(name)
    load_average(teacher, checkpoint)
    return teacher.eval().requires_grad_(False)


def settings_of_teacher(settings: Mapping[str, str]) -> dict[str, str]:
    """What follows from the teacher's run: the weight of distortion, as both are for one rate."""
    before = recipe_beside(Path(settings["teacher"])) if settings.get("teacher") else {}
    return {k: str(before[k]) for k in ("distortion_weight",) if k in before}


def _student(model: ImageModel) -> IlcModel:
    if not isinstance(model, IlcModel):
        raise UsageError("the scheme distillation is for the models ilc")
    return model


def _prior(model: ImageModel) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if k.startswith("prior.")}
