"""mbt2018-mean: side information tells means and scales of the latent."""

from __future__ import annotations

from torch import nn

from pliant.models.single import SingleRateModel
from pliant.priors.gaussian import GaussianPrior
from pliant.priors.hyperprior import HyperPrior
from pliant.transforms.autoencoder import EXACT_SCALE, Autoencoder, signed_analysis


class MeanScaleHyperpriorModel(SingleRateModel):
    """Minnen et al., "Joint Autoregressive and Hierarchical Priors for Learned Image Compression"
    (NeurIPS 2018), without the autoregressive part.

    Args:
        width: channels of the inner layers and of z, N.
        channels: of y, M.
        exact: the exact prior instead of Gaussians.
    """

    def __init__(self, width: int = 128, channels: int = 192, exact: bool = False) -> None:
        hyper = signed_analysis(width, channels)
        if exact:
            prior: nn.Module = HyperPrior(channels, width, width)
        else:
            prior = GaussianPrior(width, channels, means=True)
        transform = Autoencoder(width, channels, hyper, scale=EXACT_SCALE if exact else 1.0)
        super().__init__(transform, prior, 2)
