"""An exact prior for models of a single rate."""

from __future__ import annotations

import torch

from pliant.layers.exact import RateVector
from pliant.priors.walk import Schedule
from pliant.priors.wrapped import WrappedPrior


class SingleRate(WrappedPrior):
    """A prior whose rate-dependent biases stay at the finest rate, whatever the file says."""

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`."""
        return self.prior.schedule(size, RateVector(torch.zeros_like(rate.rate)))
