"""Weights and biases of exact layers learn independently of each other.

Activations are never negative, so what a layer sees has a large mean, and a small change of many
weights shifts all of its sums by more than they vary: units fall to zero, or to the end of their
range, and stay there. Here a change of the weights leaves the mean sum of every unit where it was,
as if the mean of the input were subtracted first (centring: Schraudolph, "Centering Neural Network
Gradient Factors", 1998; mean-only batch normalisation: Salimans and Kingma, "Weight Normalization",
2016, section 4). Means are kept per rate anchor, as biases are. Nothing of it is left in the model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pliant.layers.exact import ONE, ExactConv2d, ExactLayer, RateVector
from pliant.units import ANCHORS, RATE_UNIT

SLOWEST = 0.02  # share of a new sample in the running means


class Centring:
    """The running input means of one layer, and what follows from them for its training."""

    def __init__(self, layer: ExactLayer) -> None:
        self._bias = layer.bias.anchors
        self._convs = [c for c in layer.convs if isinstance(c, ExactConv2d)]
        device, variants = self._bias.device, len(self._bias)
        self._means = [
            torch.zeros(variants, ANCHORS, c.weight.shape[1], device=device) for c in self._convs
        ]
        self._seen = torch.zeros(variants, ANCHORS, device=device)
        self._sums: list[Tensor] = []
        layer.register_forward_pre_hook(self._collect)

    @torch.no_grad()
    def _collect(self, layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        inputs, rate = arguments[0], arguments[1]
        variant = arguments[2] if len(arguments) > 2 else 0
        share = _shares(rate)
        count = share.sum(0)
        self._seen[variant] += count
        step = count * (1 / self._seen[variant].clamp(min=1)).clamp(min=SLOWEST)
        for mean, x in zip(self._means, inputs, strict=True):
            found = share.T @ x.float().mean((2, 3)) / count.clamp(min=1e-6)[:, None]
            mean[variant] += (found - mean[variant]) * step.clamp(max=1)[:, None]

    @torch.no_grad()
    def before_step(self) -> None:
        """Takes out of the weights' gradients what a change of the biases can do."""
        self._sums = [c.weight.sum((2, 3)) for c in self._convs]
        to_bias = self._bias.grad
        if to_bias is None:
            return
        for conv, mean in zip(self._convs, self._means, strict=True):
            if conv.weight.grad is not None:
                common = torch.einsum("vao,vac->oc", to_bias, mean) / ONE
                conv.weight.grad -= common[:, :, None, None]

    @torch.no_grad()
    def after_step(self) -> None:
        """Moves the biases against the shift of the mean sums that the weights have caused."""
        for conv, mean, before in zip(self._convs, self._means, self._sums, strict=True):
            change = conv.weight.sum((2, 3)) - before
            self._bias.sub_(torch.einsum("vac,oc->vao", mean, change) / ONE)

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""
        return {"means": self._means, "seen": self._seen}

    def load(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        for mean, saved in zip(self._means, state["means"], strict=True):
            mean.copy_(saved)
        self._seen.copy_(state["seen"])


def _shares(rate: RateVector) -> Tensor:
    """(B, ANCHORS): how much each anchor counts for each picture."""
    shares = torch.zeros(len(rate.rate), ANCHORS, device=rate.rate.device)
    upper = (rate.position / RATE_UNIT).float()[:, None]
    shares.scatter_(1, rate.anchor[:, None], 1 - upper)
    return shares.scatter_(1, rate.anchor[:, None] + 1, upper)
