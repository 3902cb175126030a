"""The explicit magnitude term of steps: what it says, how it starts, that it is exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from integer_reference import convolution, integers, interpolated
from torch import Tensor

from pliant.layers import int8
from pliant.layers.exact import RateVector
from pliant.layers.integers import EXACT_SUM
from pliant.priors.spread import SpreadHead, seen
from pliant.units import ANCHORS

RATE = 700


def vector(rate: int = RATE) -> RateVector:
    return RateVector(torch.tensor([rate]))


def drawn(around: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 128, (1, around, 4, 5)).astype(np.float32))


def logarithm(m: int) -> int:
    """80 times the base-two logarithm, linear between powers of two, in steps of 1/128, down."""
    exponent = m.bit_length() - 1
    return math.floor(math.floor((exponent + m / 2**exponent - 1) * 128) * 0.625)


@torch.no_grad()
def test_the_scale_is_the_logarithm_of_weighted_magnitudes() -> None:
    torch.manual_seed(0)
    head, x = SpreadHead(3, 6, 4), drawn(6)
    head.spread.weight.add_(torch.randn_like(head.spread.weight))
    head.head.conv.weight.zero_()
    step = head(torch.zeros(1, 3, 4, 5), x, vector())
    logs = head.spread.weight.double().numpy()
    weights = np.round(np.exp(logs) * 256).clip(0, 127).astype(np.int64)
    constant = interpolated(head.spread.constant, 0, RATE)[:, None, None]
    sums = (convolution(integers(x), weights) + constant).clip(1)
    one = 640 + 80 * round(math.log2(6 * 9 / 8)) - 360  # the logarithm of a scale of 2**-4.5 steps
    expected = [round((logarithm(int(m)) - one) / 16) for m in sums.ravel()]
    assert step.index.ravel().tolist() == [min(max(i, 0), 63) for i in expected]
    assert len(step.index.unique()) > 10
    assert not step.mean.any()


@pytest.mark.parametrize("around", [12, 96, 288])
@torch.no_grad()
def test_it_starts_with_what_is_expected(around: int) -> None:
    """Where what is around is as usual, the scale is; twice as much around, half as much more."""
    head = SpreadHead(2, around, 3)
    head.head.conv.weight.zero_()
    expected = torch.tensor([8.0, 4.0, 2.0]) * torch.exp2(-torch.arange(9.0))[:, None]
    known = torch.linspace(2, 6, around).expand(ANCHORS, -1)
    head.start(expected, known)
    quarters = (4 * known[0]).round()[None, :, None, None].expand(1, -1, 5, 5)
    for rate, factor, wanted in ((0, 1, 1.0), (0, 2, 1.5), (256, 1, 0.75)):
        # what is around stays as it is at the other rate, so only the constant's half shrinks
        step = head(torch.zeros(1, 2, 5, 5), factor * quarters, vector(rate))
        found = step.index[0, :, 2, 2]
        assert torch.allclose(found, 22.5 + 5 * (wanted * expected[0]).log2(), atol=1)


@pytest.mark.skipif(not int8.available(), reason="no int8 kernels")
@torch.no_grad()
def test_int8_kernels_say_the_same() -> None:
    torch.manual_seed(0)
    head, x, around = SpreadHead(5, 30, 4), drawn(5), drawn(30, 1)
    for parameter in head.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    one, two = (head(x.to(t), around.to(t), vector()) for t in (torch.float32, torch.uint8))
    assert torch.equal(one.index, two.index)
    assert torch.equal(one.mean, two.mean)


@torch.no_grad()
def test_sums_of_many_weights_stay_exact() -> None:
    """However the weights of the widest slices grow in training."""
    head = SpreadHead(2, 288, 2)
    head.spread.weight.fill_(0.0)
    head.spread.constant.anchors.fill_(1e9)
    head.spread.project()
    assert 0.8 * EXACT_SUM < head.spread.worst_sum() < EXACT_SUM
    few = SpreadHead(2, 54, 2)  # the widest of the default prior may have its largest weights
    few.spread.weight.fill_(0.0)
    few.spread.project()
    assert float(few.spread.integers().min()) == 127


def test_values_are_seen_in_quarters() -> None:
    values = torch.tensor([0.0, 0.25, -0.75, 3.0625, -40.0]).view(1, 5, 1, 1)
    signed, plain = seen(values, torch.float32)
    assert plain.flatten().tolist() == [0, 1, 3, 12, 127]
    positive, negative = signed.flatten().chunk(2)
    assert positive.tolist() == [0, 16, 0, pytest.approx(16 * math.log2(13), abs=1.5), 0]
    assert negative.tolist() == [0, 0, 32, 0, pytest.approx(16 * math.log2(161), abs=1.5)]


def test_every_part_learns() -> None:
    head, values = SpreadHead(4, 6, 3), torch.randn(1, 6, 4, 5, requires_grad=True)
    step = head(drawn(4), seen(2 * values, torch.float32)[1], vector())
    (step.index.sum() + step.mean.sum()).backward()
    assert values.grad is not None
    assert float(values.grad.abs().sum()) > 0
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name
