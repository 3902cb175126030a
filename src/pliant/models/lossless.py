"""The model of quality 100: a reversible pyramid and the default model's prior; nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from pliant.models.single import SingleRateModel
from pliant.priors.pyramid import INTEGERS, PyramidPrior
from pliant.transforms.pyramid import LEVELS, MULTIPLE
from pliant.transforms.reversible import ReversiblePyramid

_PRIOR, _WRAPPED = "prior.", "prior.inner."


class LosslessModel(SingleRateModel):
    """Reversible pyramid + pyramid prior.

    Args:
        widths: channels of the prior's networks (level 1, level 2, coarser levels).
    """

    multiple = MULTIPLE
    lossless = True

    def __init__(self, widths: Sequence[int] = (48, 96, 128)) -> None:
        prior = PyramidPrior((widths[0], widths[1], widths[2]), INTEGERS)
        super().__init__(ReversiblePyramid(), prior, 1 + LEVELS)

    def adopted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `ImageModel`: also the default model, for its prior."""
        if any(name.startswith(_WRAPPED) for name in state):
            return dict(state)
        return {
            name.replace(_PRIOR, _WRAPPED, 1): value
            for name, value in state.items()
            if name.startswith(_PRIOR)
        }
