"""Every prior in a size for tests, with random weights, and latents for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from pliant.layers.exact import RateVector
from pliant.models.weights import check_bounds
from pliant.priors.checkerboard import CheckerboardPrior
from pliant.priors.factorized import FactorizedPrior
from pliant.priors.hyperprior import HyperPrior
from pliant.priors.pyramid import INTEGERS, LEVELS, TRELLIS, PyramidPrior
from pliant.priors.walk import Prior, Step

SIZE = (128, 192)
AUTOENCODER = [(6, 64), (10, 16)]  # channels and factor of z and y
PYRAMID = [(3, 1 << LEVELS), *[(9, 1 << level) for level in range(LEVELS, 0, -1)]]

MAKERS: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, int]]]] = {
    "factorized": (lambda: FactorizedPrior(10, 16), AUTOENCODER[1:]),
    "hyperprior": (lambda: HyperPrior(10, 6, 16), AUTOENCODER),
    "scale hyperprior": (lambda: HyperPrior(10, 6, 16, means=False), AUTOENCODER),
    "checkerboard": (lambda: CheckerboardPrior(10, 6, 16), AUTOENCODER),
    "pyramid": (lambda: PyramidPrior((8, 12, 16), TRELLIS), PYRAMID),
    "lossless pyramid": (lambda: PyramidPrior((8, 12, 16), INTEGERS), PYRAMID),
}


def make(name: str, seed: int = 0) -> tuple[Prior, nn.Module]:
    """A small prior with random weights, as interface and as module."""
    torch.manual_seed(seed)
    module = MAKERS[name][0]().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    check_bounds(module)
    return module, module  # type: ignore[return-value]


def latents_of(name: str, batch: int = 1, seed: int = 0, spread: float = 3.0) -> list[Tensor]:
    """Heavy-tailed real latents of a picture of SIZE."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, c, SIZE[0] // f, SIZE[1] // f) for c, f in MAKERS[name][1]]
    normal = [torch.randn(s, generator=generator) for s in shapes]
    return [y * torch.exp(torch.randn(y.shape, generator=generator)) * spread for y in normal]


def vector(*rates: int) -> RateVector:
    """One rate parameter per picture."""
    return RateVector(torch.tensor(rates))


@torch.no_grad()
def steps_of(prior: Prior, parts: Sequence[Tensor], rate: RateVector) -> list[Step]:
    """What the schedule yields when it receives these symbols."""
    schedule = prior.schedule(SIZE, rate)
    steps = [next(schedule)]
    for part in parts[:-1]:
        steps.append(schedule.send(part))
    with pytest.raises(StopIteration):
        schedule.send(parts[-1])
    return steps
