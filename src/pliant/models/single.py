"""Models of a single rate, as the literature has them: one checkpoint for each point of a curve."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pliant.entropy.tables import Tables
from pliant.layers.quantize import SCALES_PER_OCTAVE, UnitGains
from pliant.models.base import ImageModel
from pliant.priors.factorized import FactorizedPrior
from pliant.priors.single import SingleRate
from pliant.priors.tabled import PublishedPrior

LEAST_MAGNITUDE = 2**-4.5  # in steps: the smallest scale that has a table


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

    @torch.no_grad()
    def expect(self, image: Tensor) -> None:
        """Lets an exact factorised prior expect what the transform makes of photos (B, 3, H, W)."""
        if isinstance(self.prior, SingleRate) and isinstance(self.prior.inner, FactorizedPrior):
            (latent,) = self.transform.analysis(image)
            magnitude = latent.abs().mean((0, 2, 3)).clamp(min=LEAST_MAGNITUDE)
            self.prior.inner.start(SCALES_PER_OCTAVE * magnitude.log2())

    def tables(self) -> Tables:
        """See `ImageModel`; published priors have their own."""
        return self.prior.tables() if isinstance(self.prior, PublishedPrior) else super().tables()

    def settle(self) -> None:
        """See `ImageModel`."""
        if isinstance(self.prior, PublishedPrior):
            self.prior.settle()
