"""Counts multiply-accumulates of a model per pixel of the picture, by running it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pliant.layers.exact import RateVector
from pliant.models.base import ImageModel
from pliant.priors.walk import Prior, RealPrior
from pliant.units import RATE_MAX

_SIZE = 64  # counts are per pixel, so the smallest picture of every model will do


@contextmanager
def _counting(counter: list[int]) -> Iterator[None]:
    """Adds the multiply-accumulates of every convolution that runs inside to counter[0]."""
    originals: dict[str, Any] = {"conv2d": F.conv2d, "conv_transpose2d": F.conv_transpose2d}

    def wrap(original: Any, transposed: bool) -> Any:
        def run(x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            out: Tensor = original(x, weight, *args, **kwargs)
            counter[0] += math.prod(weight.shape[1:]) * (x.numel() if transposed else out.numel())
            return out

        return run

    for name, original in originals.items():
        setattr(F, name, wrap(original, transposed=name != "conv2d"))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(F, name, original)


@torch.no_grad()
def macs_per_pixel(model: ImageModel) -> tuple[float, float]:
    """(encoder, decoder) multiply-accumulates per pixel of the picture.

    Counts convolutions, transposed ones by their input, masked ones as dense, divisive
    normalisation as its 1x1 convolution, and the lifting steps of a wavelet as the model states
    them (`lifting_macs`). The prior counts on both sides.
    """
    model.eval()
    fastest, model.dtype = model.dtype, torch.float32  # where the counter can see
    device = next(model.parameters()).device
    vector = RateVector(torch.tensor([RATE_MAX], device=device))
    image = torch.zeros(1, 3, _SIZE, _SIZE, device=device)
    lifting = float(getattr(model.transform, "lifting_macs", 0.0))
    counts = [0]
    with _counting(counts):
        latents = model.scale(model.transform.analysis(image), vector)
    analysis = counts[0] / _SIZE**2 + lifting
    prior = [0]
    with _counting(prior):
        _run(model.prior, latents, vector)
    synthesis = [0]
    with _counting(synthesis):
        model.decoded(latents, vector)
    model.dtype = fastest
    coding = prior[0] / _SIZE**2
    return analysis + coding, coding + synthesis[0] / _SIZE**2 + lifting


def _run(prior: Prior, latents: Sequence[Tensor], vector: RateVector) -> None:
    """Lets the prior say all of its steps."""
    if isinstance(prior, RealPrior):
        prior.parallel(latents, (_SIZE, _SIZE), vector)
        return
    schedule = prior.schedule((_SIZE, _SIZE), vector)
    step = next(schedule)
    while True:
        try:
            step = schedule.send(torch.zeros_like(step.index))
        except StopIteration:
            return
