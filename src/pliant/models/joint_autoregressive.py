"""mbt2018: hyperprior and autoregressive context together."""

from __future__ import annotations

from torch import nn

from pliant.models.single import SingleRateModel
from pliant.priors.autoregressive import AutoregressivePrior
from pliant.priors.checkerboard import CheckerboardPrior
from pliant.priors.gaussian import wide_synthesis
from pliant.transforms.autoencoder import Autoencoder, signed_analysis


class JointAutoregressiveModel(SingleRateModel):
    """Minnen et al., "Joint Autoregressive and Hierarchical Priors for Learned Image Compression"
    (NeurIPS 2018).

    Args:
        width: channels of the inner layers and of z, N.
        channels: of y, M.
        exact: the exact checkerboard prior instead of the autoregressive one.
    """

    def __init__(self, width: int = 192, channels: int = 192, exact: bool = False) -> None:
        hyper = signed_analysis(width, channels)
        if exact:
            prior: nn.Module = CheckerboardPrior(channels, width, width)
        else:
            prior = AutoregressivePrior(width, channels, wide_synthesis(width, channels))
        super().__init__(Autoencoder(width, channels, hyper), prior, 2)
