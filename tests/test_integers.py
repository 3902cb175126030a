"""Integer functions in float32: against integer arithmetic, and their gradients."""

from __future__ import annotations

import math

import numpy as np
import torch

from pliant.layers.integers import (
    compand,
    distribution,
    log2_fixed,
    log_index,
    requantise,
    round_clamp,
    signed_planes,
    to_grid,
)


def test_log2_fixed_is_piecewise_linear_and_rounds_down() -> None:
    m = np.concatenate([np.arange(1, 5000), 2 ** np.arange(24), 2 ** np.arange(1, 25) - 1])
    exponent = np.array([int(v).bit_length() - 1 for v in m])
    for bits in (4, 7):
        expected = (exponent << bits) + (((m - (1 << exponent)) << bits) >> exponent)
        found = log2_fixed(torch.from_numpy(m.astype(np.float32)), bits).numpy()
        assert np.array_equal(found, expected)
    index = log_index(torch.from_numpy(m.astype(np.float32))).numpy()
    exact = (exponent << 7) + (((m - (1 << exponent)) << 7) >> exponent)
    assert np.array_equal(index, exact * 5 // 8)
    # the chord of the logarithm is at most 0.086 octaves below it, and two roundings follow
    assert np.abs(index - 80 * np.log2(m)).max() < 80 * 0.0861 + 2


def test_compand_and_signed_planes() -> None:
    x = torch.tensor([0.0, 1, -1, 3, 240, -255, 40000]).view(1, 7, 1, 1)
    expected = [[0, 16, 0, 32, 126, 0, 127], [0, 0, 16, 0, 0, 127, 0]]
    for dtype in (torch.float32, torch.uint8):
        planes = signed_planes(x, dtype)
        assert planes.dtype == dtype
        assert planes.flatten().tolist() == [*expected[0], *expected[1]]
    every = compand(torch.arange(70000.0))
    assert bool((every.diff() >= 0).all())
    assert float(every.max()) == 127


def test_rounding_is_half_to_even() -> None:
    halves = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5, 126.5, 127.5, 9999.0])
    zero = torch.zeros(1, 1, 1, 1)
    expected = [0, 0, 0, 2, 2, 126, 127, 127]
    with torch.no_grad():
        assert requantise(halves.view(1, 1, 1, -1).clone(), zero).flatten().tolist() == expected
    assert requantise(halves.view(1, 1, 1, -1).clone(), zero).flatten().tolist() == expected
    assert round_clamp(halves, -1, 126).tolist() == [-1, 0, 0, 2, 2, 126, 126, 126]
    assert (to_grid(halves / 4, 2, 3) * 4).tolist() == [-2, 0, 0, 2, 2, 3, 3, 3]


def test_gradients_pass_straight_through() -> None:
    x = torch.tensor([-5.0, 0.4, 3.3, 500.0], requires_grad=True)
    for y in (round_clamp(x, 0, 100), to_grid(x, 3, 127)):
        assert torch.autograd.grad(y.sum(), x)[0].tolist() == [1, 1, 1, 1]
    m = torch.tensor([1.0, 64.0], requires_grad=True)
    slope = torch.autograd.grad(log_index(m).sum(), m)[0]
    assert torch.allclose(slope, 80 / (np.log(2) * m.detach()))


def test_gradient_of_requantise_never_leads_further_out() -> None:
    total = torch.tensor([-5.0, 0.4, 3.3, 500.0]).view(1, 1, 1, 4).requires_grad_()
    bias = torch.zeros(1, 1, 1, 1, requires_grad=True)
    # A positive gradient asks for less, a negative one for more; both pass strictly inside. At an
    # end passes only what leads back in, at zero (which 0.4 becomes) a tenth of it.
    for sign, expected in ((1.0, [0.0, 0, 1, 1]), (-1.0, [-0.1, -0.1, -1, 0])):
        loss = sign * requantise(total, bias).sum()
        to_total, to_bias = torch.autograd.grad(loss, (total, bias))
        assert torch.allclose(to_total.flatten(), torch.tensor(expected))
        assert torch.allclose(to_bias.flatten(), torch.tensor([sum(expected)]))


def test_distribution_rounds_twice_and_clamps() -> None:
    mean = torch.tensor([-9999.0, -2.5, 0.5, 1.5, 9999.0], requires_grad=True)
    correction = torch.tensor([0.5, 8.0, 23.5, 1e6, -1e6], requires_grad=True)
    scale = torch.tensor([8.0, 0.0, 0.0, 0.0, 0.0], requires_grad=True)
    index, rounded = distribution(mean, correction, scale)
    assert rounded.tolist() == [-4095, -2, 0, 2, 4095]
    assert index.tolist() == [0, 0, 2, 63, 0]  # 8 / 16 is half way to one, hence even: zero
    found = torch.autograd.grad((index + 3 * rounded).sum(), (mean, correction, scale))
    assert found[0].tolist() == [3] * 5
    for gradient in found[1:]:  # an index at its end is not pushed further out
        assert (gradient * 16).tolist() == [0, 0, 1, 1, 0]


def test_gradients_of_signed_planes() -> None:
    """The slope of 16 log2(1 + |x|) in the plane of its sign; half of both at zero."""
    x = torch.tensor([-6.0, -1.0, 0.0, 3.0]).view(1, 1, 1, 4)
    learnt = x.clone().requires_grad_()
    planes = signed_planes(learnt, torch.float32)
    assert torch.equal(planes, signed_planes(x, torch.float32))
    planes.backward(torch.tensor([2.0, 5.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4))
    assert learnt.grad is not None
    slope = 16 / (math.log(2) * (1 + x.abs()))
    sides = torch.tensor([-5.0, -5.0, -1.5, 2.0]).view_as(x)
    assert torch.allclose(learnt.grad, slope * sides)
