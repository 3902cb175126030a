"""What priors around another one share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pliant.priors.walk import Prior


class WrappedPrior(nn.Module):
    """A prior with another one within, which says everything but the schedule; see `walk.Prior`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    @property
    def prior(self) -> Prior:
        """The prior within, as such."""
        prior: Prior = self.inner  # type: ignore[assignment]
        return prior

    @property
    def dtype(self) -> torch.dtype:
        """See `walk.Prior`."""
        return self.prior.dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype) -> None:
        self.prior.dtype = dtype

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """See `walk.Prior`."""
        return self.prior.split(latents)

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Inverse of `split`."""
        return self.prior.merge(parts, size)
