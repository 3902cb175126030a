"""Where the side latent of an exact hyperprior starts: at what photos need to know.

With random weights z costs bits long before the hyper synthesis understands it, so training
silences it first, and where bits are dear it never speaks again. Here z starts as principal
components of the local magnitudes of y, coarse enough to cost little; the hyper synthesis hands
them on, and the scales are fitted to them: a log-linear model of y's spread, from the first step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.exact import RateVector
from pliant.layers.quantize import LN2, SCALE_LOG2_MIN
from pliant.models.base import ImageModel
from pliant.priors.factorized import SUMS_PER_OCTAVE
from pliant.priors.hyperprior import HyperPrior, HyperSynthesis
from pliant.priors.single import SingleRate
from pliant.transforms.autoencoder import Autoencoder, Magnitude

_SPREAD = 6.0  # standard deviation, in steps, of the largest component of z
_RIDGE = 2e-4  # little: what is said loudly at first is learned from, even where it is not true
_ITERATIONS = 60
_OTHERS = 0.1  # of the weights of what has no meaning yet


def applies(model: ImageModel) -> bool:
    """Whether the model has an exact hyperprior."""
    return isinstance(model.prior, SingleRate) and isinstance(model.prior.inner, HyperPrior)


@torch.no_grad()
def start(model: ImageModel, image: Tensor) -> None:
    """Sets hyper analysis, hyper synthesis and head.

    Args:
        model: see `applies`; the transform's other weights are those that training starts from.
        image: (B, 3, H, W) in 0..255; some dozens of crops.
    """
    transform = model.transform
    assert isinstance(model.prior, SingleRate)
    prior = model.prior.inner
    assert isinstance(transform, Autoencoder)
    assert isinstance(prior, HyperPrior)
    assert isinstance(transform.hyper, nn.Sequential)
    main = transform.analysis(image)[1]
    _start_analysis(transform.hyper, main)
    side = transform.hyper(main).round()
    _start_synthesis(prior.synthesis)
    prior.side.expect(side.abs().mean((0, 2, 3)))
    first = RateVector(torch.zeros(1, dtype=torch.long))
    known = prior.synthesis(side, first, torch.float32)
    weight, bias = _log_linear(_rows(known), _rows(main.abs()))
    head, channels = prior.head.head, main.shape[1]  # scales come after means
    head.conv.weight[-channels:] = weight.T[:, :, None, None] * SUMS_PER_OCTAVE
    head.bias.anchors[0, :, -channels:] = bias * SUMS_PER_OCTAVE


def _start_analysis(hyper: nn.Sequential, main: Tensor) -> None:
    """z: principal components of smoothed magnitudes of the strongest channels of y."""
    convolutions = [layer for layer in hyper if isinstance(layer, nn.Conv2d)]
    first, second, third = convolutions
    for layer in convolutions:
        assert layer.bias is not None
        layer.weight.mul_(_OTHERS)
        layer.bias.zero_()
    strength = main.abs().mean((0, 2, 3)).clamp(min=1e-6)
    # a rectifier sees one sign at a time
    signs = (1.0,) if isinstance(hyper[0], Magnitude) else (1.0, -1.0)
    count = min(first.out_channels // len(signs), len(strength))
    strongest = strength.argsort(descending=True)[:count]
    units, taps = torch.arange(count), torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    smooth = torch.outer(taps, taps)
    used = len(signs) * count
    first.weight[:used], second.weight[:count] = 0, 0
    for number, sign in enumerate(signs):
        own = units + number * count
        first.weight[own, strongest, 1, 1] = sign / strength[strongest]
        second.weight[units, own] = smooth
    features = hyper[:-1](main)[:, :count]
    kernel = smooth.expand(count, 1, 5, 5)
    rows = _rows(F.conv2d(features, kernel, stride=2, padding=2, groups=count)).double()
    mean = rows.mean(0)
    energies, directions = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    components = directions.flip(1).T * (_SPREAD / energies[-1].sqrt().clamp(min=1e-3))
    third.weight[:, :count] = 0
    third.weight[:count] = 0
    third.weight[:count, :count] = components.float()[:, :, None, None] * smooth
    assert third.bias is not None
    third.bias[:count] = -(components @ mean).float()


def _start_synthesis(synthesis: HyperSynthesis) -> None:
    """Layers hand on the positive and the negative parts of the first components."""
    for number, layer in enumerate(synthesis.layers):
        weight: Tensor = layer.get_submodule("convs.0").get_parameter("weight")
        width, known = weight.shape[:2]
        units = torch.arange(min(width, known))
        if number == 0:
            half = torch.arange(min(width, known) // 2)
            units, sources = (
                torch.cat((half, half + width // 2)),
                torch.cat((half, half + known // 2)),
            )
        else:
            sources = units
        weight.zero_()
        weight[units, sources, 1, 1] = 1


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) as (B * H * W, C)."""
    return x.movedim(1, -1).flatten(0, -2)


def _log_linear(known: Tensor, magnitudes: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms to base 2 of Laplacian scales as linear functions: (inputs, outputs), (outputs,).

    The most likely ones, with a small penalty on large weights; the problem is convex.

    Args:
        known: (n, inputs). magnitudes: (n, outputs).
    """
    spread = known.std(0).clamp(min=1)
    inputs = torch.cat((known / spread, torch.ones(len(known), 1)), 1)
    magnitudes = magnitudes.clamp(min=2**SCALE_LOG2_MIN)
    found = torch.zeros(inputs.shape[1], magnitudes.shape[1])
    found[-1] = magnitudes.mean(0).log()
    found.requires_grad_()
    search = torch.optim.LBFGS([found], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        search.zero_grad()
        logarithm = inputs @ found
        nats = (magnitudes * torch.exp(-logarithm) + logarithm).mean(0).sum()
        total = nats + _RIDGE * found[:-1].square().sum()
        total.backward()
        return total.detach()

    with torch.enable_grad():
        search.step(cost)
    octaves = found.detach() / LN2
    return octaves[:-1] / spread[:, None], octaves[-1]
