"""Any hyperprior of a single rate as a model of every rate, to be trained on from its weights.

Kamisli, Racape and Choi, "Variable-Rate Learned Image Compression with Multi-Objective Optimization
and Quantization-Reconstruction Offsets" (DCC 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pliant.entropy.tables import Tables
from pliant.layers.exact import RateBias, RateVector
from pliant.layers.quantize import SCALES_PER_OCTAVE
from pliant.layers.variable import VariableGains, gain_of
from pliant.models.base import ImageModel
from pliant.models.joint_autoregressive import JointAutoregressiveModel
from pliant.models.mean_scale_hyperprior import MeanScaleHyperpriorModel
from pliant.models.scale_hyperprior import ScaleHyperpriorModel
from pliant.priors.autoregressive import AutoregressivePrior
from pliant.priors.hyperprior import HyperPrior
from pliant.priors.single import SingleRate
from pliant.priors.variable import ExactVariablePrior, GainedPrior
from pliant.transforms.autoencoder import Autoencoder
from pliant.units import ANCHORS, RATE_UNIT

SYSTEMS: dict[str, Callable[..., ImageModel]] = {
    "scale-hyperprior": ScaleHyperpriorModel,
    "joint": JointAutoregressiveModel,
    "mean-scale-hyperprior": MeanScaleHyperpriorModel,
}


_ADDED = ("gains.", "prior.offsets.", "prior.inner.gain_features.")


class VariableRateModel(ImageModel):
    """One step for all of y, offsets, and a variable step for z.

    As published, the autoregressive prior has a z of step 1, and features of the gain instead.

    Args:
        system: of `SYSTEMS`.
        config: of the single-rate model. Published priors make their tables of z anew for every
            rate parameter, in float64; exact ones need no others.
    """

    strength = 0.0
    integral = False

    def __init__(self, system: str, **config: Any) -> None:
        base = SYSTEMS[system](**config)
        inner: torch.nn.Module = base.prior  # type: ignore[assignment]
        gains = VariableGains(hyper_step=not isinstance(inner, AutoregressivePrior))
        if isinstance(inner, SingleRate):
            assert isinstance(inner.inner, HyperPrior)
            prior: ExactVariablePrior | GainedPrior = ExactVariablePrior(inner.inner, gains)
        else:
            if isinstance(inner, AutoregressivePrior):
                inner.follow_gains()
            prior = GainedPrior(inner, gains)
        assert isinstance(base.transform, torch.nn.Module)
        super().__init__(base.transform, prior, [], gains=gains)
        self.portable = base.portable

    @property
    def variable_gains(self) -> VariableGains:
        """The gains, as what they are."""
        assert isinstance(self.gains, VariableGains)
        return self.gains

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
        octaves = gain_of(torch.arange(ANCHORS) * RATE_UNIT).log2().to(anchors)
        anchors[:, :, scales:] += SCALES_PER_OCTAVE * octaves[:, None]

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
        device = self.variable_gains.levels.device
        with torch.no_grad():
            side, _ = self.variable_gains.steps(RateVector(torch.tensor([rate], device=device)))
        assert isinstance(self.prior, GainedPrior)
        return self.prior.published.tables(float(side))

    def settle(self) -> None:
        """See `ImageModel`."""
        if isinstance(self.prior, GainedPrior):
            self.prior.published.settle()
