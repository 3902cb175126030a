"""ILC: an invertible transform that keeps a third of its values, taught by an autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pliant.layers.quantize import step_for
from pliant.models.single import SingleRateModel
from pliant.priors.density import DensityPrior
from pliant.priors.factorized import FactorizedPrior
from pliant.transforms.lossy_flow import LossyFlow


class IlcModel(SingleRateModel):
    """Wang et al., "Modeling Lost Information in Lossy Image Compression" (2020, arXiv 2006.11999).

    Args:
        widths, kernels: of the couplings' networks, one for each stage after the first.
        couplings: of a stage.
        mixing: whether there are 1x1 convolutions.
        exact: the exact prior instead of learnt densities.
    """

    def __init__(
        self,
        widths: Sequence[int] = (128, 256, 1024),
        kernels: Sequence[int] = (5, 3, 3),
        couplings: int = 1,
        mixing: bool = True,
        exact: bool = False,
    ) -> None:
        flow = LossyFlow(widths, kernels, couplings, mixing)
        if exact:
            prior: nn.Module = FactorizedPrior(flow.coded, flow.factor)
        else:
            prior = DensityPrior(flow.coded, flow.factor, rounded=True)
        super().__init__(flow, prior, 1)
        self.multiple = flow.factor

    @property
    def flow(self) -> LossyFlow:
        """The transform, as what it is."""
        assert isinstance(self.transform, LossyFlow)
        return self.transform

    def start_from_photos(self, image: Tensor, distortion_weight: float) -> None:
        """See `ImageModel`: a linear transform with the gain that the weight asks for."""
        self.flow.linear_start(image, step_for(distortion_weight))
        self.expect(image)
