"""The published factorised prior: a learnt density for each channel.

Balle et al., "Variational Image Compression with a Scale Hyperprior" (ICLR 2018, appendix 6.1).
"""

from __future__ import annotations

import dataclasses

from pliant.layers.exact import RateVector
from pliant.priors.tabled import PublishedPrior
from pliant.priors.walk import Schedule


class DensityPrior(PublishedPrior):
    """Prior of one latent (B, channels, H / factor, W / factor), coded in a single step.

    Args:
        rounded: in training the synthesis gets rounded latents, with straight-through gradients,
            instead of noisy ones.
    """

    def __init__(self, channels: int, factor: int = 16, rounded: bool = False) -> None:
        super().__init__(channels, factor, gaussians=False)
        self.rounded = rounded

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`."""
        yield dataclasses.replace(self.first_step(size, rate), shows_rounded=self.rounded)
