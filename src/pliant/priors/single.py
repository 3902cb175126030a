"""An exact prior for models of a single rate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pliant.layers.exact import RateVector
from pliant.priors.walk import Prior, Schedule


class SingleRate(nn.Module):
    """A prior whose rate-dependent biases stay at the finest rate, whatever the file says."""

    def __init__(self, prior: nn.Module) -> None:
        super().__init__()
        self.inner: Prior = prior  # type: ignore[assignment]

    @property
    def dtype(self) -> torch.dtype:
        """See `walk.Prior`."""
        return self.inner.dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype) -> None:
        self.inner.dtype = dtype

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`."""
        return self.inner.schedule(size, RateVector(torch.zeros_like(rate.rate)))

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """See `walk.Prior`."""
        return self.inner.split(latents)

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Inverse of `split`."""
        return self.inner.merge(parts, size)
