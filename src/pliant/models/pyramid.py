"""The default model: invertible lifting pyramid, exact pyramid prior, one model for every rate."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pliant.layers.exact import RateVector
from pliant.layers.quantize import Points, step_size
from pliant.layers.trellis import HALF_STEP, ONE, STEP
from pliant.models.base import ImageModel
from pliant.priors.pyramid import TRELLIS, PyramidPrior
from pliant.transforms import colour
from pliant.transforms.pyramid import LEVELS, MULTIPLE, PyramidTransform
from pliant.transforms.restoration import Restoration


class PyramidModel(ImageModel):
    """Lifting pyramid + pyramid prior + restoration.

    Args:
        widths: channels of the prior's networks (level 1, level 2, coarser levels).
        restoration: channels of the restoration network.
    """

    multiple = MULTIPLE
    adaptations = colour.ANGLES

    def __init__(self, widths: Sequence[int] = (48, 96, 128), restoration: int = 64) -> None:
        low = Points(HALF_STEP * TRELLIS.low_unit / TRELLIS.unit)
        super().__init__(
            PyramidTransform(),
            PyramidPrior((widths[0], widths[1], widths[2]), TRELLIS),
            [3, *[9] * LEVELS],
            Restoration(restoration),
            [low, *[Points(HALF_STEP, ONE)] * LEVELS],
        )

    @property
    def pyramid(self) -> PyramidTransform:
        """The transform, as what it is."""
        assert isinstance(self.transform, PyramidTransform)
        return self.transform

    def fitted(self, latents: Sequence[Tensor], rate: RateVector) -> RateVector:
        """See `ImageModel`: the angles of the picture's own colours."""
        noise = (STEP * step_size(rate.rate)).square() / 12
        return RateVector(rate.rate, colour.suitable(latents[1:], noise))

    def scale(self, latents: Sequence[Tensor], rate: RateVector) -> list[Tensor]:
        """See `ImageModel`; the symbols are those of the picture's own colours."""
        if rate.adaptation is not None:
            turn = colour.rotation(rate.adaptation)
            latents = [colour.turned(y, turn) for y in latents]
        return super().scale(latents, rate)

    def synthesised(self, symbols: Sequence[Tensor], rate: RateVector) -> Tensor:
        """See `ImageModel`."""
        turn = None if rate.adaptation is None else colour.rotation(rate.adaptation)
        return self.pyramid.synthesis(self.unscale(symbols, rate), turn)
