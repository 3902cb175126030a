"""Models of a single rate: nothing in them depends on the rate parameter of the file."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_priors import SIZE, latents_of, vector
from small_zoo import loaded, make

from pliant import container
from pliant.codec import Codec
from pliant.layers import int8
from pliant.layers.quantize import UnitGains
from pliant.models.weights import self_check
from pliant.priors import walk
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
