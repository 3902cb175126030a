"""Models of a single rate: nothing in them depends on the rate parameter of the file."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_priors import SIZE, latents_of, vector
from small_zoo import loaded, make
from torch import nn

from pliant import container
from pliant.codec import Codec
from pliant.layers import int8
from pliant.layers.quantize import UnitGains
from pliant.models.mean_scale_hyperprior import MeanScaleHyperpriorModel
from pliant.models.weights import self_check
from pliant.priors import walk
from pliant.priors.checkerboard import CheckerboardPrior
from pliant.priors.factorized import FactorizedPrior
from pliant.priors.hyperprior import HyperPrior
from pliant.priors.single import SingleRate
from pliant.units import RATE_MAX


def test_the_prior_stays_at_the_finest_rate() -> None:
    torch.manual_seed(0)
    inner = HyperPrior(10, 6, 16).eval()
    with torch.no_grad():
        for parameter in inner.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    prior = SingleRate(inner)
    parts = [y.round() for y in latents_of("hyperprior")]
    with torch.no_grad():
        expected = list(walk.taught(inner, parts, SIZE, vector(0)))
        for rate in (0, 1000, RATE_MAX):
            for a, b in zip(walk.taught(prior, parts, SIZE, vector(rate)), expected, strict=True):
                assert torch.equal(a.index, b.index)
                assert torch.equal(a.mean, b.mean)
    assert prior.split(parts) == prior.merge(parts, SIZE) == parts


def test_gains_are_one() -> None:
    for steps in (UnitGains(2).steps(vector(0)), UnitGains(2).steps(vector(5, RATE_MAX))):
        assert len(steps) == 2
        assert all(bool((step == 1).all()) for step in steps)


@pytest.mark.parametrize("name", ["factorized", "exact mean-scale hyperprior"])
def test_quality_changes_nothing(name: str, photo: Any) -> None:
    codec = Codec(loaded(name))
    files = [container.read(codec.encode(photo[:70, :90], quality=q)) for q in (10, 90)]
    pixels = [codec.decode(container.write(f)).pixels for f in files]
    # the checksum in a stream covers the header, and with it the rate
    assert abs(len(files[0].tiles[0]) - len(files[1].tiles[0])) <= 4
    assert (pixels[0] == pixels[1]).all()


@pytest.mark.skipif(not int8.available(), reason="no int8 kernels")
@pytest.mark.parametrize("name", ["exact factorized", "exact cheng anchor"])
def test_int8_kernels_give_the_same_walk(name: str) -> None:
    model = make(name)
    expected = self_check(model)
    model.dtype = torch.uint8
    assert model.dtype == torch.uint8
    assert self_check(model) == expected


@pytest.mark.parametrize("kind", [FactorizedPrior, HyperPrior, CheckerboardPrior])
def test_exact_priors_expect_what_they_are_told(kind: Any) -> None:
    """Every step then has the table of its channel's scale, for symbols that say nothing."""
    y, z = torch.logspace(-3, 4, 8, base=2), torch.logspace(-5, 2, 6, base=2)
    if kind is FactorizedPrior:
        prior, scales = kind(8, 16), [y]
    else:
        prior, scales = kind(8, 6, 16), [z, y]
        for parameter in prior.synthesis.parameters():
            nn.init.zeros_(parameter)
    prior.expect(*scales)
    schedule = prior.schedule((64, 64), vector(700))
    step = next(schedule)
    expected = [*scales, y] if kind is CheckerboardPrior else scales
    for number, scale in enumerate(expected):
        wanted = 22.5 + 5 * scale.clamp(min=2**-4.5).log2()  # index 22.5 is a scale of one step
        planes = step.index.shape[1] // len(scale)
        error = step.index.detach()[0, :, 0, 0] - wanted.repeat(planes)
        assert float(error.abs().max()) <= 0.8  # a bias comes in half indices
        if number + 1 < len(expected):
            step = schedule.send(torch.zeros_like(step.index))


def test_models_expect_photos_before_they_are_trained(photo: Any) -> None:
    torch.manual_seed(1)
    model = MeanScaleHyperpriorModel(8, 12, exact=True)
    image = torch.from_numpy(photo[:192, :256].copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        before, _ = model.round_trip(image, vector(0), 0.0)
        model.start_from_photos(image, 0.01)
        after, _ = model.round_trip(image, vector(0), 0.0)
    assert float(after) < 0.8 * float(before)
