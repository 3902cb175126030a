"""The published factorised prior: a learnt density for each channel.

Balle et al., "Variational Image Compression with a Scale Hyperprior" (ICLR 2018, appendix 6.1).
"""

from __future__ import annotations

from pliant.layers.exact import RateVector
from pliant.priors.tabled import PublishedPrior
from pliant.priors.walk import Schedule


class DensityPrior(PublishedPrior):
    """Prior of one latent (B, channels, H/16, W/16), coded in a single step."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 16, gaussians=False)

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`."""
        yield self.first_step(size, rate)
