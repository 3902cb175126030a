"""The default model: invertible lifting pyramid, exact pyramid prior, one model for every rate."""

from __future__ import annotations

from collections.abc import Sequence

from pliant.layers.quantize import Points
from pliant.layers.trellis import HALF_STEP, ONE
from pliant.models.base import ImageModel
from pliant.priors.pyramid import TRELLIS, PyramidPrior
from pliant.transforms.pyramid import LEVELS, MULTIPLE, PyramidTransform
from pliant.transforms.restoration import Restoration


class PyramidModel(ImageModel):
    """Lifting pyramid + pyramid prior + restoration.

    Args:
        widths: channels of the prior's networks (level 1, level 2, coarser levels).
        restoration: channels of the restoration network.
    """

    multiple = MULTIPLE

    def __init__(self, widths: Sequence[int] = (48, 96, 128), restoration: int = 64) -> None:
        low = Points(HALF_STEP * TRELLIS.low_unit / TRELLIS.unit)
        super().__init__(
            PyramidTransform(),
            PyramidPrior((widths[0], widths[1], widths[2]), TRELLIS),
            [3, *[9] * LEVELS],
            Restoration(restoration),
            [low, *[Points(HALF_STEP, ONE)] * LEVELS],
        )
