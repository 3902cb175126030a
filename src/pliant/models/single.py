"""Models of a single rate, as the literature has them: one checkpoint for each point of a curve."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pliant.entropy.tables import Tables
from pliant.layers.quantize import UnitGains
from pliant.models.base import ImageModel
from pliant.priors.checkerboard import CheckerboardPrior
from pliant.priors.factorized import FactorizedPrior
from pliant.priors.hyperprior import HyperPrior
from pliant.priors.single import SingleRate
from pliant.priors.tabled import PublishedPrior


class SingleRateModel(ImageModel):
    """A transform and a prior; every quantiser step is one.

    Args:
        prior: a published one, of real arithmetic, or an exact one: only then is the model
            portable.
        latents: how many the transform gives.
    """

    single_rate = True
    strength = 0.0

    def __init__(self, transform: nn.Module, prior: nn.Module, latents: int) -> None:
        published = isinstance(prior, PublishedPrior)
        wrapped = prior if published else SingleRate(prior)
        super().__init__(transform, wrapped, [], gains=UnitGains(latents))
        self.portable = self.integral = not published

    def start_from_photos(self, image: Tensor, distortion_weight: float) -> None:
        """See `ImageModel`: an exact prior expects what the transform gives."""
        self.expect(image)

    @torch.no_grad()
    def expect(self, image: Tensor) -> None:
        """Lets an exact prior expect what the transform makes of photos (B, 3, H, W)."""
        inner = self.prior.inner if isinstance(self.prior, SingleRate) else None
        if isinstance(inner, FactorizedPrior | HyperPrior | CheckerboardPrior):
            inner.expect(*(y.abs().mean((0, 2, 3)) for y in self.transform.analysis(image)))

    def tables(self) -> Tables:
        """See `ImageModel`; published priors have their own."""
        return self.prior.tables() if isinstance(self.prior, PublishedPrior) else super().tables()

    def settle(self) -> None:
        """See `ImageModel`."""
        if isinstance(self.prior, PublishedPrior):
            self.prior.settle()
