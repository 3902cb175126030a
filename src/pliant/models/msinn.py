"""MSINN: a multi-scale flow with a wide range of rates, published and small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pliant.entropy.families import gaussian_masses
from pliant.entropy.tables import Tables
from pliant.layers.anchor_gains import ANCHOR_WEIGHTS, AnchorGains, AnchorTable, anchor_rates
from pliant.layers.exact import RateBias, RateVector
from pliant.layers.quantize import step_for
from pliant.models.base import ImageModel
from pliant.priors.flow_context import FlowPrior
from pliant.priors.slices import SlicePrior
from pliant.transforms.multiscale import CHANNELS, MultiscaleTransform
from pliant.units import ANCHORS, RATE_MAX, RATE_UNIT

LEAST_SPREAD = 1e-6  # of a channel of photos in 0..1


class MsinnModel(ImageModel):
    """Tu et al., "Multi-Scale Invertible Neural Network for Wide-Range Variable-Rate Learned Image
    Compression" (IEEE Transactions on Multimedia 2025).

    Args:
        weights: of squared error (of 0..255) against bits per pixel, at the 8 or 12 anchors.
        widths: of the couplings' networks, finest level first.
        units: of the flow, per level.
        context: channels of the prior's networks, coarsest slice first.
        refinement: channels and inner layers of the refinement of decoded values; (0, 0): none.
        post: channels of the post-net; 0: none.
        exact: the exact prior. The model is portable then.
        linear: starts as a linear transform with gains to suit, as it does with the exact prior.
    """

    multiple = 32
    strength = 0.0
    integral = False

    def __init__(
        self,
        weights: Sequence[float] = ANCHOR_WEIGHTS[:8],
        widths: Sequence[int] = (128, 128, 128, 192),
        units: int = 4,
        context: Sequence[int] = (128,) * 5,
        refinement: Sequence[int] = (128, 3),
        post: int = 16,
        exact: bool = False,
        linear: bool = False,
    ) -> None:
        width, inner = refinement
        transform = MultiscaleTransform(widths, units, (width, inner), post)
        gains = AnchorGains(CHANNELS, weights, spread=not exact)
        if exact:
            prior: nn.Module = SlicePrior(gains, context)
        else:
            prior = FlowPrior(transform, gains, context)
        super().__init__(transform, prior, [], gains=gains)
        self.portable, self.anchors, self.linear = exact, len(weights), exact or linear

    @property
    def anchor_gains(self) -> AnchorGains:
        """The gains, as what they are."""
        assert isinstance(self.gains, AnchorGains)
        return self.gains

    @property
    def flow(self) -> MultiscaleTransform:
        """The transform, as what it is."""
        assert isinstance(self.transform, MultiscaleTransform)
        return self.transform

    def decoded(self, symbols: Sequence[Tensor], rate: RateVector) -> Tensor:
        """See `ImageModel`."""
        return self.flow.synthesis_at(symbols, self.anchor_gains.inverse_gains(rate))

    def anchor_points(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(rate parameters, weights of squared error) of anchors (B,), float64."""
        rates = torch.tensor(anchor_rates(self.anchors), dtype=torch.float64)
        weights = torch.tensor(self.anchor_gains.weights, dtype=torch.float64)
        return rates.to(numbers.device)[numbers], weights.to(numbers.device)[numbers]

    def start_from_photos(self, image: Tensor, distortion_weight: float) -> None:
        """See `ImageModel`; the weights of distortion are those of the anchors."""
        if not self.linear:
            self.flow.adapt(image)
            return
        self.flow.linear_start(image)
        self.anchor_gains.start(peak=1.0)
        with torch.no_grad():
            self._expect(self.transform.analysis(image))

    def _expect(self, slices: Sequence[Tensor]) -> None:
        """Lets the prior expect the spreads of these slices, at every rate."""
        if isinstance(self.prior, FlowPrior):
            deviations = [y.square().mean((0, 2, 3)).sqrt() for y in slices]
            self.anchor_gains.start_spreads(torch.cat(deviations).clamp(min=LEAST_SPREAD))
            self.prior.expect_spreads()
            return
        assert isinstance(self.prior, SlicePrior)
        rate = RateVector(torch.arange(ANCHORS, device=slices[0].device) * RATE_UNIT)
        magnitudes = [y.abs().mean((0, 2, 3)).clamp(min=LEAST_SPREAD) for y in slices]
        units = [unit[:, :, 0, 0] for unit in self.gains.steps(rate)]
        self.prior.start([m / unit for m, unit in zip(magnitudes, units, strict=True)])

    def adopted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `ImageModel`: also a model of fewer anchors, whose rates keep their weights.

        New anchors have the gains of the last one, as published; with a linear start they go on
        as the weights of distortion do, else a short training would scale the whole transform.
        """
        start = dict(state)
        for name, module in self.named_modules():
            if isinstance(module, AnchorTable):
                known = start[f"{name}.logs"]
                before = len(known)
                missing = known[-1:].expand(self.anchors - before, -1)
                if self.linear:
                    sign = -1 if module is self.anchor_gains.inverse else 1
                    missing = missing + sign * self._octaves(before)[:, None]
                start[f"{name}.logs"] = torch.cat((known, missing))
        for name, module in self.named_modules():
            if isinstance(module, RateBias):
                key = f"{name}.anchors"
                start[key] = _moved(start[key], before, self.anchors)
        return start

    def _octaves(self, before: int) -> Tensor:
        """How much finer a sensible step is at each new anchor than at the last before: (new,)."""
        weights = self.anchor_gains.weights[before - 1 :]
        steps = torch.tensor([step_for(weight) for weight in weights])
        return (steps[0] / steps[1:]).log2()

    def tables(self) -> Tables:
        """See `ImageModel`."""
        return super().tables() if self.portable else Tables.listed(gaussian_masses())


def _moved(biases: Tensor, before: int, now: int) -> Tensor:
    """Biases (variants, ANCHORS, C) of a model with other anchors: each for the rate it was for."""
    if before == now:
        return biases
    place = (now - 1) * (1 - torch.arange(ANCHORS) * RATE_UNIT / RATE_MAX)
    rate = RATE_MAX * (1 - (place / (before - 1)).clamp(max=1)) / RATE_UNIT
    low = rate.floor().long().clamp(0, ANCHORS - 2)
    return torch.lerp(biases[:, low], biases[:, low + 1], (rate - low)[None, :, None])
