"""Steps of the published priors: real means and scales, coded by tables listed by number.

Their networks work in floating point, so only the machine that wrote a file is sure to read it.
What the schedule receives, and the synthesis gets, are values: symbols plus their means.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pliant.entropy.families import (
    GAUSSIANS,
    SCALE_RATIO,
    SMALLEST_SCALE,
    gaussian_masses,
)
from pliant.entropy.tables import HALF_MEAN_UNIT, MEAN_UNIT, Tables
from pliant.layers.bound import lower_bound
from pliant.layers.density import LEAST_LIKELIHOOD, Density
from pliant.layers.exact import RateVector
from pliant.layers.offsets import Correction
from pliant.priors.walk import LARGEST, Schedule, Step, taught

ROOT_HALF = 0.5**0.5


@dataclass(frozen=True, kw_only=True)
class TabledStep(Step, ABC):
    """A step whose symbols are counted from real means and coded by the tables of these numbers.

    Attributes:
        index: (B, C, H, W) table numbers divided by 16: what the coder calls the scale index.
        mean: (B, C, H, W) real; a value is its symbol plus its mean.
        fraction: (B, C, H, W) the rest of the table numbers, less 8.
    """

    fraction: Tensor

    def centred(self) -> tuple[Tensor, Tensor]:
        """See `Step`: the means are subtracted, the coder's fraction completes the number."""
        return self.mean, self.fraction

    @abstractmethod
    def in_units(self, unit: Tensor) -> TabledStep:
        """The same distributions for latents that are counted in this unit (B, 1 or C, 1, 1)."""

    def choose(self, part: Tensor, strength: float) -> Tensor:
        """The values nearest to the latents; `strength` is not used."""
        return (part - self.mean).round().clamp(-LARGEST, LARGEST).add(self.mean).contiguous()


@dataclass(frozen=True, kw_only=True)
class GaussianStep(TabledStep):
    """Gaussians of real mean and `scale` (standard deviation), in quantiser steps.

    Attributes:
        correction: offsets of what the synthesis gets.
    """

    scale: Tensor
    correction: Correction | None = None

    def in_units(self, unit: Tensor) -> GaussianStep:
        """See `TabledStep`."""
        return gaussian_step(self.mean / unit, self.scale / unit)

    def corrected(self, correction: Correction) -> GaussianStep:
        """The same step with offsets."""
        return dataclasses.replace(self, correction=correction)

    def reconstruct(self, symbols: Tensor) -> Tensor:
        """See `Step`: with the offsets of the correction, if there is one."""
        if self.correction is None:
            return symbols
        return self.correction(symbols, self.mean, self.scale)

    def shown(self, part: Tensor, noise: Tensor) -> Tensor:
        """See `Step`: rounded and corrected, as offsets exist only where latents are rounded."""
        return noise if self.correction is None else self.reconstruct(self.rounded(part))

    def bits(self, symbols: Tensor) -> Tensor:
        """Ideal cost of the unit intervals around values, differentiable in all arguments."""
        distance = (symbols - self.mean).abs()
        unit = ROOT_HALF / self.scale
        near = torch.erfc((distance - 0.5) * unit)
        mass = 0.5 * (near - torch.erfc((distance + 0.5) * unit))
        return -lower_bound(mass, LEAST_LIKELIHOOD).log2()


@dataclass(frozen=True, kw_only=True)
class DensityStep(TabledStep):
    """Learnt densities, one for each channel.

    Attributes:
        unit: (B, 1 or C, 1, 1) of the values, in that of the densities.
        shows_rounded: whether the synthesis gets rounded latents in training.
    """

    density: Density
    unit: Tensor | None = None
    shows_rounded: bool = False

    def in_units(self, unit: Tensor) -> DensityStep:
        """See `TabledStep`; the tables must be made for the same unit."""
        return dataclasses.replace(self, mean=self.mean / unit, unit=unit)

    def shown(self, part: Tensor, noise: Tensor) -> Tensor:
        """See `Step`."""
        return self.rounded(part) if self.shows_rounded else noise

    def bits(self, symbols: Tensor) -> Tensor:
        """See `Density.bits`; differentiable in the unit as well."""
        if self.unit is None:
            return self.density.bits(symbols)
        return self.density.bits(symbols * self.unit, self.unit)


def gaussian_step(mean: Tensor, scale: Tensor) -> GaussianStep:
    """The step of Gaussians (B, C, H, W) with scales of at least 0.11; tables 0 to 63."""
    bounded = lower_bound(scale, SMALLEST_SCALE)
    with torch.no_grad():
        position = (bounded / SMALLEST_SCALE).log() * (1 / math.log(SCALE_RATIO))
        index, fraction = _places(position.round().clamp(max=GAUSSIANS - 1))
    return GaussianStep(index, mean, wide=True, fraction=fraction, scale=bounded)


def density_step(density: Density, first: int, shape: Sequence[int]) -> DensityStep:
    """The step of a latent (B, C, H, W) with learnt densities; tables from `first` on."""
    medians = density.medians
    numbers = torch.arange(density.channels, device=medians.device).view(1, -1, 1, 1) + first
    index, fraction = _places(numbers.float())
    index, mean, fraction = (x.expand(tuple(shape)) for x in (index, medians, fraction))
    return DensityStep(index, mean, wide=True, fraction=fraction, density=density)


def _places(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Table numbers as the coder's (scale index, fraction)."""
    index = torch.floor(numbers / MEAN_UNIT)
    return index, numbers - MEAN_UNIT * index - HALF_MEAN_UNIT


class PublishedPrior(nn.Module, ABC):
    """What the priors of real arithmetic share; see `walk.Prior`.

    The latent that is coded first has learnt densities; with `gaussians`, others are Gaussian.

    Args:
        channels: of the first latent.
        factor: pixels of the picture per sample of the first latent, in each direction.

    Attributes:
        dtype: has no effect: all arithmetic is in float32.
    """

    def __init__(self, channels: int, factor: int, gaussians: bool) -> None:
        super().__init__()
        self.factor, self.gaussians = factor, gaussians
        self.density = Density(channels)
        self.dtype = torch.float32

    @abstractmethod
    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`; receives values instead of symbols."""

    def parallel(
        self, latents: Sequence[Tensor], size: tuple[int, int], rate: RateVector
    ) -> Sequence[Step]:
        """See `walk.RealPrior`."""
        return list(taught(self, latents, size, rate))

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """One tensor per step: the latents themselves."""
        return list(latents)

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Inverse of `split`."""
        return list(parts)

    def first_step(self, size: tuple[int, int], rate: RateVector) -> DensityStep:
        """The step of the first latent of a picture of padded `size` (height, width)."""
        grid = size[0] // self.factor, size[1] // self.factor
        shape = len(rate.rate), self.density.channels, *grid
        return density_step(self.density, GAUSSIANS if self.gaussians else 0, shape)

    def settle(self) -> None:
        """Brings the medians up to date with the trained densities; before tables are made."""
        self.density.settle()

    def tables(self, step: Tensor | float = 1.0) -> Tables:
        """Probability tables of the trained prior: the Gaussians first, then the densities.

        Args:
            step: of the first latent: one, or (C,) of each channel.
        """
        gaussians = gaussian_masses() if self.gaussians else []
        return Tables.listed(gaussians + self.density.masses(step))
