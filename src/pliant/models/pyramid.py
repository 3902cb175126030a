"""The default model: invertible lifting pyramid, exact pyramid prior, one model for every rate."""

from __future__ import annotations

from collections.abc import Sequence

from pliant.models.base import ImageModel
from pliant.priors.pyramid import PyramidPrior
from pliant.transforms.pyramid import LEVELS, MULTIPLE, PyramidTransform


class PyramidModel(ImageModel):
    """Lifting pyramid + pyramid prior.

    Args:
        widths: channels of the prior's networks (level 1, level 2, coarser levels).
        restoration_width: channels of the restoration network, 0 for none.
    """

    multiple = MULTIPLE

    def __init__(self, widths: Sequence[int] = (48, 80, 96), restoration_width: int = 40) -> None:
        super().__init__(
            PyramidTransform(restoration_width),
            PyramidPrior((widths[0], widths[1], widths[2])),
            [3, *[9] * LEVELS],
        )
