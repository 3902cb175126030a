"""Priors of a single rate, made to serve every rate: their schedules, in other quantiser steps.

Kamisli, Racape and Choi, "Variable-Rate Learned Image Compression with Multi-Objective Optimization
and Quantization-Reconstruction Offsets" (DCC 2024). The networks know latents as they are; only
the steps of the schedule count them in the unit of the rate. Symbols are counted from the means:
a coarse quantiser makes nearly all of them zero, and still leaves the means to the synthesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pliant.layers.exact import RateVector
from pliant.layers.offsets import Correction, Offsets
from pliant.layers.quantize import SCALE_LOG2_MIN, SCALES_PER_OCTAVE
from pliant.layers.variable import ScalarGains
from pliant.priors.centred import CentredStep
from pliant.priors.tabled import GaussianStep, PublishedPrior, TabledStep
from pliant.priors.walk import Schedule, Step
from pliant.priors.wrapped import WrappedPrior


@dataclass(frozen=True, kw_only=True)
class CorrectedStep(CentredStep):
    """With means that follow the gain, and offsets.

    Attributes:
        mean: (B, C, H, W) in 1/16 of a step of gain 1, integers.
        correction: offsets of what the synthesis gets, and the gain of the means.
    """

    correction: Correction

    @property
    def real_mean(self) -> Tensor:
        """See `CentredStep`."""
        return self.mean * self.correction.gain

    def reconstruct(self, symbols: Tensor) -> Tensor:
        """See `Step`: with offsets."""
        centre, _ = self.centred()
        scale = torch.exp2(self.index * (1 / SCALES_PER_OCTAVE) + SCALE_LOG2_MIN)
        return self.correction(symbols, centre, scale * 2**0.5)  # standard deviation


class _VariablePrior(WrappedPrior):
    """What both kinds share: a prior within, offsets, and the gains of the model that owns it."""

    def __init__(self, inner: nn.Module, gains: ScalarGains, offsets: bool = True) -> None:
        super().__init__(inner)
        self.offsets = Offsets() if offsets else None
        self._gains = (gains,)  # the model's: not a module of this one as well

    @property
    def gains(self) -> ScalarGains:
        """The gains of the model."""
        return self._gains[0]

    def correction(self, rate: RateVector) -> Correction:
        """The offsets at the gains of a batch."""
        return Correction(self.offsets, self.gains.gain(rate))


class ExactVariablePrior(_VariablePrior):
    """An exact hyperprior for every rate.

    Its biases depend on the rate parameter, among them those that say the scales of both latents:
    so the tables of the side latent follow its step, and the same ones serve every rate.

    Args:
        inner: with two steps, side latent and main latent.
        gains: of the model.
        offsets: whether there are any.
    """

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`; the second step receives values."""
        inner = self.prior.schedule(size, rate)
        step = inner.send(self.gains.shown((yield next(inner)), rate))
        yield CorrectedStep(step.index, step.mean, wide=True, correction=self.correction(rate))


class GainedPrior(_VariablePrior):
    """A published prior for every rate: its networks see values in the unit of its own rate.

    Args:
        inner: a `PublishedPrior`; all steps but the first are of the main latent.
        gains: of the model.
        offsets: whether there are any.
    """

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`; receives values. Contexts see them with their offsets."""
        inner = self.prior.schedule(size, rate)
        units = zip(self.gains.steps(rate), self.gains.decoder_steps(rate), strict=True)
        (unit, known_unit), main_units = units
        correction, step = self.correction(rate), next(inner)
        while True:
            offered = _offered(step, unit, correction)
            values = yield offered
            try:
                step = inner.send(offered.reconstruct(values) * known_unit)
            except StopIteration:
                return
            unit, known_unit = main_units

    def parallel(
        self, latents: Sequence[Tensor], size: tuple[int, int], rate: RateVector
    ) -> list[Step]:
        """See `walk.RealPrior`."""
        units, known_units = self.gains.steps(rate), self.gains.decoder_steps(rate)
        known = [y * unit for y, unit in zip(latents, known_units, strict=True)]
        steps, correction = self.published.parallel(known, size, rate), self.correction(rate)
        return [_offered(s, unit, correction) for s, unit in zip(steps, units, strict=True)]

    @property
    def published(self) -> PublishedPrior:
        """The prior within."""
        assert isinstance(self.inner, PublishedPrior)
        return self.inner


def _offered(step: Step, unit: Tensor, correction: Correction) -> Step:
    """A step of the prior within, in units of the rate."""
    assert isinstance(step, TabledStep)
    scaled = step.in_units(unit)
    return scaled.corrected(correction) if isinstance(scaled, GaussianStep) else scaled
