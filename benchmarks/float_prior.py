"""The control of `exactness.py`: such a network as published codecs have, not an exact one.

Real weights, leaky ReLU, an exponential, a search among the scales. Its tables depend on the order
of summation, so that files written under one setting fail under another; this proves that the
harness would notice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.entropy.tables import laplace_scale
from pliant.layers.exact import RateVector
from pliant.layers.quantize import MEAN_UNIT, SCALES
from pliant.priors.walk import Schedule, Step

COARSE_INDEX = 20.0  # one table for all symbols of the coarse level
OUTPUT_GAIN = 2.0  # the random network then uses about as many tables as a trained one


class FloatPrior(nn.Module):
    """Prior of two levels of the pyramid: [(B, 9, h, w), (B, 9, 2h, 2w)].

    Args:
        width: channels, as in the exact network of the finest level.
        factor: pixels of the picture per sample of the first level.
    """

    dtype: torch.dtype

    def __init__(self, width: int = 48, factor: int = 4) -> None:
        super().__init__()
        self.dtype = torch.float32
        self.factor = factor
        first, second = (nn.Conv2d(c, width, 3, padding=1) for c in (9, width))
        last = nn.Conv2d(width, 18, 1)
        for layer in (first, second):
            nn.init.kaiming_normal_(layer.weight)
        nn.init.normal_(last.weight, std=OUTPUT_GAIN * (2 / width) ** 0.5)
        self.net = nn.Sequential(first, nn.LeakyReLU(0.1), second, nn.LeakyReLU(0.1), last)

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `pliant.priors.walk.Prior`."""
        shape = (len(rate.rate), 9, size[0] // self.factor, size[1] // self.factor)
        symbols = yield Step(torch.full(shape, COARSE_INDEX), torch.zeros(shape), on_trellis=True)
        features = F.interpolate(symbols.clamp(-16, 16) / 4, scale_factor=2, mode="nearest")
        mean, scale = self.net(features).chunk(2, 1)
        bounds = torch.from_numpy(laplace_scale(torch.arange(SCALES - 1) + 0.5)).float()
        index = torch.searchsorted(bounds, torch.exp(scale).contiguous())
        mean = (mean * MEAN_UNIT).round().clamp(-4095, 4095)
        yield Step(index.float(), mean, on_trellis=True)

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """One tensor per step: the latent itself."""
        return list(latents)

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Inverse of `split`."""
        return list(parts)
