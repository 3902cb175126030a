"""cheng2020-anchor and cheng2020-attn: residual transforms with the joint prior."""

from __future__ import annotations

from torch import nn

from pliant.models.single import SingleRateModel
from pliant.priors.autoregressive import AutoregressivePrior
from pliant.priors.checkerboard import CheckerboardPrior
from pliant.priors.gaussian import subpixel_synthesis
from pliant.transforms.cheng2020 import ChengAutoencoder


class ChengModel(SingleRateModel):
    """Cheng et al., "Learned Image Compression with Discretized Gaussian Mixture Likelihoods and
    Attention Modules" (CVPR 2020), with one Gaussian instead of a mixture, as CompressAI has it.

    Args:
        width: channels of everything, N = M.
        attention: with the attention blocks.
        exact: the exact checkerboard prior instead of the autoregressive one.
    """

    def __init__(self, width: int = 128, attention: bool = False, exact: bool = False) -> None:
        if exact:
            prior: nn.Module = CheckerboardPrior(width, width, width)
        else:
            prior = AutoregressivePrior(width, width, subpixel_synthesis(width))
        super().__init__(ChengAutoencoder(width, attention), prior, 2)
