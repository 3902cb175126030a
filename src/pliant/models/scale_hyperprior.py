"""bmshj2018-hyperprior: side information tells the scales of the latent."""

from __future__ import annotations

from torch import nn

from pliant.models.single import SingleRateModel
from pliant.priors.gaussian import GaussianPrior
from pliant.priors.hyperprior import HyperPrior
from pliant.transforms.autoencoder import EXACT_SCALE, Autoencoder, scale_analysis


class ScaleHyperpriorModel(SingleRateModel):
    """Balle et al., "Variational Image Compression with a Scale Hyperprior" (ICLR 2018, section 3).

    Args:
        width: channels of the inner layers and of z, N.
        channels: of y, M.
        exact: the exact prior instead of Gaussians.
    """

    def __init__(self, width: int = 128, channels: int = 192, exact: bool = False) -> None:
        hyper = scale_analysis(width, channels)
        if exact:
            prior: nn.Module = HyperPrior(channels, width, width, means=False)
        else:
            prior = GaussianPrior(width, channels, means=False)
        transform = Autoencoder(width, channels, hyper, scale=EXACT_SCALE if exact else 1.0)
        super().__init__(transform, prior, 2)
