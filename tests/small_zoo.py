"""Every model of the zoo in a size for tests, with random weights, published and exact prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pliant.layers.anchor_gains import ANCHOR_WEIGHTS
from pliant.layers.invertible import InvertibleConv
from pliant.models.base import ImageModel
from pliant.models.cheng2020 import ChengModel
from pliant.models.factorized import FactorizedModel
from pliant.models.ilc import IlcModel
from pliant.models.joint_autoregressive import JointAutoregressiveModel
from pliant.models.mean_scale_hyperprior import MeanScaleHyperpriorModel
from pliant.models.msinn import MsinnModel
from pliant.models.registry import Entry, Loaded
from pliant.models.scale_hyperprior import ScaleHyperpriorModel
from pliant.priors.autoregressive import AutoregressivePrior
from pliant.priors.flow_context import FlowPrior
from pliant.priors.gaussian import GaussianPrior
from pliant.priors.slices import SlicePrior
from pliant.priors.tabled import PublishedPrior
from pliant.transforms.multiscale import CHANNELS
from pliant.transforms.post_net import PostNet, SqueezeExcite
from pliant.units import ANCHORS

_SIZE = {"width": 6, "channels": 10}
_FLOW: dict[str, Any] = {
    "widths": (6, 6, 8, 8),
    "units": 2,
    "context": (8,) * 5,
    "weights": ANCHOR_WEIGHTS[:3],
}
_SYSTEMS: dict[str, tuple[Callable[..., ImageModel], dict[str, Any]]] = {
    "factorized": (FactorizedModel, _SIZE),
    "factorized eighth": (FactorizedModel, {**_SIZE, "stages": 3}),
    "factorized relu": (FactorizedModel, {**_SIZE, "rectified": True}),
    "scale hyperprior": (ScaleHyperpriorModel, _SIZE),
    "mean-scale hyperprior": (MeanScaleHyperpriorModel, _SIZE),
    "joint autoregressive": (JointAutoregressiveModel, _SIZE),
    "cheng anchor": (ChengModel, {"width": 8}),
    "cheng attention": (ChengModel, {"width": 16, "attention": True}),
    "ilc": (IlcModel, {"widths": (6, 6), "kernels": (5, 3), "couplings": 1}),
    "msinn": (MsinnModel, _FLOW | {"refinement": (8, 1), "post": 2}),
    "msinn refined": (MsinnModel, _FLOW | {"refinement": (8, 0), "post": 0}),
    "msinn linear": (MsinnModel, _FLOW | {"refinement": (8, 0), "post": 0, "linear": True}),
}
PUBLISHED = list(_SYSTEMS)
# attention, rectifiers and a post-net have nothing to do with the prior, and exact flows all start
# as a linear transform
_ONCE = ("factorized eighth", "factorized relu", "cheng attention", "msinn", "msinn linear")
EXACT = [f"exact {name}" for name in _SYSTEMS if name not in _ONCE]
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
    if isinstance(model, MsinnModel):
        _spread_flow(model, image)
        return model
    if isinstance(model, IlcModel):
        model.flow.linear_start(image, 40.0)
        for parameter in model.flow.flow.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    for last, number in ((_main(model), -1), (_hyper(model), 0)):
        if last is not None:
            spread = model.transform.analysis(image)[number].std()
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


def _spread_flow(model: MsinnModel, image: Tensor) -> None:
    """Couplings, gains and the prior do something."""
    model.start_from_photos(image, 0.1)
    if isinstance(model.prior, SlicePrior):  # wider: photos are not like this noise
        scales = torch.logspace(3, 1.5, ANCHORS, base=2)[:, None]
        model.prior.start([scales.expand(-1, channels) for channels in CHANNELS])
    for name, parameter in model.named_parameters():
        if not name.startswith("transform.levels") or parameter.dim() == 4:
            parameter.add_(torch.randn_like(parameter) * 0.03)
    for module in model.modules():
        if isinstance(module, InvertibleConv):
            module.weight.copy_(torch.linalg.qr(module.weight[:, :, 0, 0]).Q[:, :, None, None])
    if model.flow.post is not None:
        _wake(model.flow.post, image / 255)
    if isinstance(model.prior, FlowPrior):
        gains = torch.linspace(0, 2, model.anchors)[:, None]
        own = model.anchor_gains
        assert own.spread is not None
        if model.linear:  # gains suit the anchors already, but spreads that noise
            own.spread.logs.copy_(gains.expand_as(own.spread.logs))
            for head in model.prior.fusion:
                head[-1].weight.add_(torch.randn_like(head[-1].weight))
        else:
            own.main.logs.add_(gains)
            own.inverse.logs.sub_(gains)
            own.spread.logs.add_(gains)
        for head, channels in zip(model.prior.fusion, CHANNELS, strict=True):
            head[-1].bias[:channels] += 3


def _wake(post: PostNet, image: Tensor) -> None:
    """No unit of an excitation rests."""

    def turn(module: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(module, SqueezeExcite)
        module.squeeze.weight.mul_(module.squeeze(inputs[0].mean((2, 3))).sign().T)

    hooks = [m.register_forward_pre_hook(turn) for m in post.modules() if type(m) is SqueezeExcite]
    post(image)
    for hook in hooks:
        hook.remove()


def loaded(name: str, seed: int = 0) -> Loaded:
    """Such a model as if it came from the registry."""
    model = make(name, seed).requires_grad_(False)
    system, _ = _SYSTEMS[name.removeprefix("exact ")]
    entry = Entry(name, system, config_of(name), sha256=f"{seed + 1:02x}" * 32)
    return Loaded(entry, model, model.tables())


def _last(module: nn.Module) -> nn.Conv2d:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)][-1]


def _main(model: ImageModel) -> nn.Conv2d | None:
    encoder = getattr(model.transform, "encoder", None)
    return None if encoder is None else _last(encoder)


def _hyper(model: ImageModel) -> nn.Conv2d | None:
    hyper = getattr(model.transform, "hyper", None)
    return None if hyper is None else _last(hyper)
