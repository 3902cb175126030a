"""Every model of the zoo in a size for tests, with random weights, published and exact prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pliant.models.base import ImageModel
from pliant.models.cheng2020 import ChengModel
from pliant.models.factorized import FactorizedModel
from pliant.models.joint_autoregressive import JointAutoregressiveModel
from pliant.models.mean_scale_hyperprior import MeanScaleHyperpriorModel
from pliant.models.registry import Entry, Loaded
from pliant.models.scale_hyperprior import ScaleHyperpriorModel
from pliant.priors.autoregressive import AutoregressivePrior
from pliant.priors.gaussian import GaussianPrior
from pliant.priors.tabled import PublishedPrior

_SIZE = {"width": 6, "channels": 10}
_SYSTEMS: dict[str, tuple[Callable[..., ImageModel], dict[str, Any]]] = {
    "factorized": (FactorizedModel, _SIZE),
    "factorized relu": (FactorizedModel, {**_SIZE, "rectified": True}),
    "scale hyperprior": (ScaleHyperpriorModel, _SIZE),
    "mean-scale hyperprior": (MeanScaleHyperpriorModel, _SIZE),
    "joint autoregressive": (JointAutoregressiveModel, _SIZE),
    "cheng anchor": (ChengModel, {"width": 8}),
    "cheng attention": (ChengModel, {"width": 16, "attention": True}),
}
PUBLISHED = list(_SYSTEMS)
# attention and rectifiers have nothing to do with the prior
EXACT = [f"exact {name}" for name in _SYSTEMS if name not in ("factorized relu", "cheng attention")]
NAMES = PUBLISHED + EXACT


def config_of(name: str) -> dict[str, Any]:
    """The arguments of a model."""
    _, config = _SYSTEMS[name.removeprefix("exact ")]
    return {**config, "exact": name.startswith("exact ")}


def build(name: str) -> ImageModel:
    """An untrained model."""
    return _SYSTEMS[name.removeprefix("exact ")][0](**config_of(name))


@torch.no_grad()
def make(name: str, seed: int = 0) -> ImageModel:
    """A model whose latents spread over a few steps, and whose prior expects about that."""
    torch.manual_seed(seed)
    model = build(name).eval()
    image = torch.rand(1, 3, 64, 64) * 255
    for last, number in ((_last(model.transform.encoder), -1), (_hyper(model), 0)):
        spread = model.transform.analysis(image)[number].std()
        if last is not None:
            last.weight.mul_(2 / spread)
            last.bias.mul_(2 / spread)
    prior = model.prior
    if isinstance(prior, PublishedPrior):
        for parameter in (*prior.density.matrices, *prior.density.factors):
            parameter.add_(torch.randn_like(parameter) * 0.3)  # else all have the same shape
    if isinstance(prior, AutoregressivePrior):
        prior.third.bias[: prior.channels] += 4
    elif isinstance(prior, GaussianPrior):
        head = _last(prior.synthesis)
        head.bias[: len(head.bias) // (1 + prior.means)] += 4
    elif model.portable:
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    model.settle()
    return model


def loaded(name: str, seed: int = 0) -> Loaded:
    """Such a model as if it came from the registry."""
    model = make(name, seed).requires_grad_(False)
    system, _ = _SYSTEMS[name.removeprefix("exact ")]
    entry = Entry(name, system, config_of(name), sha256=f"{seed + 1:02x}" * 32)
    return Loaded(entry, model, model.tables())


def _last(module: nn.Module) -> nn.Conv2d:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)][-1]


def _hyper(model: ImageModel) -> nn.Conv2d | None:
    hyper = getattr(model.transform, "hyper", None)
    return None if hyper is None else _last(hyper)
