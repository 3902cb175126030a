"""Any hyperprior of a single rate as a model of every rate, to be trained on from its weights.

Kamisli, Racape and Choi, "Variable-Rate Learned Image Compression with Multi-Objective Optimization
and Quantization-Reconstruction Offsets" (DCC 2024), and the methods that it competes with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pliant.entropy.tables import Tables
from pliant.layers.conditional import rates_near
from pliant.layers.exact import RateBias, RateVector
from pliant.layers.gain_units import AsymmetricGains, QuantisationErrorAwareGains, TheisGains
from pliant.layers.variable import NoGains, ScalarGains, VariableGains, level_rates
from pliant.models.base import ImageModel
from pliant.models.joint_autoregressive import JointAutoregressiveModel
from pliant.models.mean_scale_hyperprior import MeanScaleHyperpriorModel
from pliant.models.scale_hyperprior import ScaleHyperpriorModel
from pliant.priors.autoregressive import AutoregressivePrior
from pliant.priors.factorized import sums_for
from pliant.priors.hyperprior import HyperPrior
from pliant.priors.single import SingleRate
from pliant.priors.variable import ExactVariablePrior, GainedPrior
from pliant.transforms.autoencoder import Autoencoder
from pliant.transforms.conditioned import (
    ConditionalAutoencoder,
    ConditionedAutoencoder,
    MapAutoencoder,
)
from pliant.units import ANCHORS, RATE_UNIT

SYSTEMS: dict[str, Callable[..., ImageModel]] = {
    "scale-hyperprior": ScaleHyperpriorModel,
    "joint": JointAutoregressiveModel,
    "mean-scale-hyperprior": MeanScaleHyperpriorModel,
}
_Prior = ExactVariablePrior | GainedPrior


class Shape(NamedTuple):
    """What a method has to know of the single-rate model.

    Attributes:
        side, channels: of z and of y.
        exact: whether its prior is exact.
        hyper_step: whether z may have a step of its own.
    """

    side: int
    channels: int
    exact: bool
    hyper_step: bool


class Method(NamedTuple):
    """What makes the rate of a model variable.

    Attributes:
        offsets: whether decoded values move away from their means.
        transform: what becomes of that of the single-rate model.
        mixed_bins: whether training takes any rate parameter that is nearest to its level.
    """

    gains: Callable[[Shape], ScalarGains]
    offsets: bool = False
    transform: Callable[[Autoencoder], Autoencoder] = lambda base: base
    mixed_bins: bool = False


METHODS: dict[str, Method] = {
    "vbr": Method(lambda shape: VariableGains(shape.hyper_step), offsets=True),
    "theis": Method(lambda shape: TheisGains(shape.channels)),
    "qvrf": Method(lambda _: QuantisationErrorAwareGains()),
    "cui": Method(lambda shape: AsymmetricGains(shape.side, shape.channels, shape.exact)),
    # the step is that of the level, which could as well be in its last layer, times the bin size
    "choi": Method(lambda _: ScalarGains(), transform=ConditionalAutoencoder, mixed_bins=True),
    "song": Method(lambda _: NoGains(), transform=MapAutoencoder),
    # without gains, all rates start as one and part only in the course of a long training
    "song-gains": Method(lambda _: ScalarGains(), transform=MapAutoencoder),
}

_ADDED = (
    "gains.",
    "prior.offsets.",
    "prior.inner.gain_features.",
    "transform.modulators.",
    "transform.conditions.",
)


class VariableRateModel(ImageModel):
    """A single-rate model and what a method adds to it.

    The method "vbr" has one step for all of y, offsets, and a variable step for z; as published,
    the autoregressive prior has a z of step 1, and features of the gain instead.

    Args:
        system: of `SYSTEMS`.
        width, channels: of the single-rate model, whose z has `width` channels.
        method: of `METHODS`.
        config: of the single-rate model. Published priors make their tables of z anew for every
            rate parameter, in float64; exact ones need no others.
    """

    strength = 0.0
    integral = False

    def __init__(
        self, system: str, width: int, channels: int, method: str = "vbr", **config: Any
    ) -> None:
        base = SYSTEMS[system](width=width, channels=channels, **config)
        inner: torch.nn.Module = base.prior  # type: ignore[assignment]
        joint, parts = isinstance(inner, AutoregressivePrior), METHODS[method]
        gains = parts.gains(Shape(width, channels, base.portable, not joint))
        if isinstance(inner, SingleRate):
            assert isinstance(inner.inner, HyperPrior)
            prior: _Prior = ExactVariablePrior(inner.inner, gains, parts.offsets)
        else:
            if isinstance(inner, AutoregressivePrior) and method == "vbr":
                inner.follow_gains()
            prior = GainedPrior(inner, gains, parts.offsets)
        assert isinstance(base.transform, Autoencoder)
        super().__init__(parts.transform(base.transform), prior, [], gains=gains)
        self.portable, self.mixed_bins = base.portable, parts.mixed_bins

    @property
    def scalar_gains(self) -> ScalarGains:
        """The gains, as what they are."""
        assert isinstance(self.gains, ScalarGains)
        return self.gains

    def scale(self, latents: Sequence[Tensor], rate: RateVector) -> list[Tensor]:
        """See `ImageModel`: here comes what of the analysis depends on the rate."""
        if isinstance(self.transform, ConditionedAutoencoder):
            latents = self.transform.analysis_at(latents[0], rate)
        return super().scale(latents, rate)

    def decoded(self, symbols: Sequence[Tensor], rate: RateVector) -> Tensor:
        """See `ImageModel`."""
        if isinstance(self.transform, ConditionedAutoencoder):
            return self.transform.synthesis_at(self.unscale(symbols, rate), rate)
        return super().decoded(symbols, rate)

    def drawn_rate(self, level: int) -> int:
        """The rate parameter of a step of training at a level."""
        if not self.mixed_bins:
            return level_rates()[level]
        near = rates_near(level)
        return int(near[torch.randint(len(near), (1,))])

    def adopted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `ImageModel`: also the weights of the single-rate model.

        With them the finest rate is that model's, but for symbols that are counted from means; the
        scales of other rates follow from their gains.
        """
        if any(key.startswith("gains.") for key in state):
            return dict(state)
        own = self.state_dict()
        start = {k: v for k, v in own.items() if k.startswith(_ADDED)}
        within = "prior." if isinstance(self.prior, GainedPrior) else "prior.inner."
        for key, value in state.items():
            start[key.replace(within, "prior.inner.", 1)] = value
        for name, module in self.named_modules():
            key = f"{name}.anchors"
            if isinstance(module, RateBias) and key in start:
                start[key] = start[key][:, :1].expand_as(module.anchors).clone()
        self._spread_scales(start)
        return start

    def _spread_scales(self, state: dict[str, Tensor]) -> None:
        """Scales of y, in steps, fall with the gain."""
        inner = self.prior.inner if isinstance(self.prior, ExactVariablePrior) else None
        if not isinstance(inner, HyperPrior):
            return
        anchors = state["prior.inner.head.head.bias.anchors"]
        scales = anchors.shape[2] // 2 if inner.head.means else 0  # they come after the means
        with torch.no_grad():
            gain = self.scalar_gains.gain(RateVector(torch.arange(ANCHORS) * RATE_UNIT))
        anchors[:, :, scales:] += sums_for(gain[:, :, 0, 0]).to(anchors)

    def shared(self) -> list[Tensor]:
        """Parameters whose gradients say how much levels disagree: synthesis, hyper synthesis."""
        assert isinstance(self.transform, Autoencoder)
        assert isinstance(self.prior, ExactVariablePrior | GainedPrior)
        hyper = self.prior.inner.get_submodule("synthesis")
        return [*self.transform.decoder.parameters(), *hyper.parameters()]

    def added(self) -> list[Tensor]:
        """Trained parameters of the small networks that the single-rate model does not have."""
        named = self.named_parameters()
        trained = [(name, p) for name, p in named if p.requires_grad and name != "gains.levels"]
        return [p for name, p in trained if name.startswith(_ADDED)]

    def tables(self) -> Tables:
        """See `ImageModel`: those of the finest rate."""
        if self.portable:
            return super().tables()
        return self.tables_at(0, super().tables())

    def tables_at(self, rate: int, stored: Tables) -> Tables:
        """See `ImageModel`."""
        if self.portable:
            return stored
        assert isinstance(self.prior, GainedPrior)
        published = self.prior.published
        vector = RateVector(torch.tensor([rate], device=published.density.quantiles.device))
        with torch.no_grad():
            side, _ = self.scalar_gains.steps(vector)
        return published.tables(side.flatten())

    def settle(self) -> None:
        """See `ImageModel`."""
        if isinstance(self.prior, GainedPrior):
            self.prior.published.settle()
