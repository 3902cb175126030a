"""bmshj2018-factorized: the autoencoder of Balle et al. with a factorised prior."""

from __future__ import annotations

from pliant.models.single import SingleRateModel
from pliant.priors.density import DensityPrior
from pliant.priors.factorized import FactorizedPrior
from pliant.transforms.autoencoder import EXACT_SCALE, Autoencoder


class FactorizedModel(SingleRateModel):
    """Balle et al., "Variational Image Compression with a Scale Hyperprior" (ICLR 2018, section 2).

    Args:
        width: channels of the inner layers, N.
        channels: of the latent, M.
        exact: the exact prior instead of learnt densities.
        rectified: ReLU instead of generalised divisive normalisation.
        stages: how often the size is halved; 4 as published.
    """

    def __init__(
        self,
        width: int = 128,
        channels: int = 192,
        exact: bool = False,
        rectified: bool = False,
        stages: int = 4,
    ) -> None:
        prior = (FactorizedPrior if exact else DensityPrior)(channels, 1 << stages)
        scale = EXACT_SCALE if exact else 1.0
        super().__init__(Autoencoder(width, channels, None, rectified, scale, stages), prior, 1)
