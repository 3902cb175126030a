"""Training at the rates of anchors: every picture of a step draws its own.

Tu et al., "Multi-Scale Invertible Neural Network for Wide-Range Variable-Rate Learned Image
Compression" (IEEE Transactions on Multimedia 2025).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pliant.errors import UsageError
from pliant.layers.exact import RateVector
from pliant.models.base import ImageModel
from pliant.models.msinn import MsinnModel
from pliant.training.data import Batch
from pliant.training.losses import BalancedLoss, squared_error


class AnchorsLoss(BalancedLoss):
    """Bits per pixel plus squared error, weighted as the anchor of each picture says."""

    def __call__(self, model: ImageModel, batch: Batch, progress: float) -> Tensor:
        """See `BalancedLoss`; the rates of the batch are not used."""
        if not isinstance(model, MsinnModel):
            raise UsageError("the scheme anchors is for models that have them")
        image = batch.image
        numbers = torch.randint(model.anchors, (len(image),)).to(image.device)
        rate, weight = model.anchor_points(numbers)
        total, decoded = model.surrogate(image, RateVector(rate))
        error = squared_error(decoded, image)
        cost = total / (image.shape[2] * image.shape[3]) + weight.to(error) * error
        self._smooth(cost, rate)
        return cost.mean()
