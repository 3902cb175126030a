"""Steps of exact networks whose symbols are counted from the means."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pliant.layers.quantize import MEAN_UNIT, symbol_bits
from pliant.priors.walk import LARGEST, Step


@dataclass(frozen=True, kw_only=True)
class CentredStep(Step):
    """Laplacians whose symbols are counted from the means of an exact network; values are received.

    What the coder gets of them, index and symbol, is exact; the means reach only the pixels.
    """

    @property
    def real_mean(self) -> Tensor:
        """The means in 1/16 of a symbol, which need not be integers."""
        return self.mean

    def centred(self) -> tuple[Tensor, Tensor]:
        """See `Step`: nothing is left of the means."""
        return self.real_mean * (1 / MEAN_UNIT), torch.zeros_like(self.mean)

    def choose(self, part: Tensor, strength: float) -> Tensor:
        """The values nearest to the latents; `strength` is not used."""
        centre, _ = self.centred()
        return (part - centre).round().clamp(-LARGEST, LARGEST).add(centre).contiguous()

    def bits(self, symbols: Tensor) -> Tensor:
        """See `Step`; for values."""
        return symbol_bits(symbols, self.real_mean, self.index)
