"""The model of quality 100: a reversible pyramid and the default model's prior; nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pliant.layers.exact import RateVector
from pliant.models.single import SingleRateModel
from pliant.priors.pyramid import INTEGERS, PyramidPrior
from pliant.transforms import colour
from pliant.transforms.pyramid import LEVELS, MULTIPLE
from pliant.transforms.reversible import ReversiblePyramid

_NOISE = 1 / 12  # of rounding to integers
_PRIOR, _WRAPPED = "prior.", "prior.inner."


class LosslessModel(SingleRateModel):
    """Reversible pyramid + pyramid prior.

    Args:
        widths: channels of the prior's networks (level 1, level 2, coarser levels).
    """

    multiple = MULTIPLE
    lossless = True
    adaptations = colour.ANGLES

    def __init__(self, widths: Sequence[int] = (48, 96, 128)) -> None:
        prior = PyramidPrior((widths[0], widths[1], widths[2]), INTEGERS)
        super().__init__(ReversiblePyramid(), prior, 1 + LEVELS)

    def fitted(self, latents: Sequence[Tensor], rate: RateVector) -> RateVector:
        """See `ImageModel`: the angles of the picture's own colours."""
        noise = torch.full_like(rate.rate, _NOISE, dtype=torch.float32)
        return RateVector(rate.rate, colour.suitable(latents[1:], noise))

    def scale(self, latents: Sequence[Tensor], rate: RateVector) -> list[Tensor]:
        """See `ImageModel`; integers stay integers."""
        if rate.adaptation is None:
            return list(latents)
        return [colour.turned_exactly(y, rate.adaptation) for y in latents]

    def unscale(self, symbols: Sequence[Tensor], rate: RateVector) -> list[Tensor]:
        """See `ImageModel`: inverse of `scale`."""
        values = [q.float() for q in symbols]
        if rate.adaptation is None:
            return values
        return [colour.turned_exactly(q, rate.adaptation, back=True) for q in values]

    def adopted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `ImageModel`: also the default model, for its prior."""
        if any(name.startswith(_WRAPPED) for name in state):
            return dict(state)
        return {
            name.replace(_PRIOR, _WRAPPED, 1): value
            for name, value in state.items()
            if name.startswith(_PRIOR)
        }
