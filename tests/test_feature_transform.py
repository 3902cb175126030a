"""The spatial feature transform: identity at first, its formula, sizes of conditions."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from pliant.layers.feature_transform import WIDTH, Conditions, FeatureTransform


def test_it_starts_as_the_identity() -> None:
    x, condition = torch.randn(2, 5, 4, 6), torch.randn(2, WIDTH, 4, 6)
    assert torch.equal(FeatureTransform(5)(x, condition), x)


def test_outputs_equal_the_formula() -> None:
    torch.manual_seed(0)
    layer = FeatureTransform(3)
    with torch.no_grad():
        layer.last.weight.normal_()
        layer.last.bias.normal_()
        x, condition = torch.randn(1, 3, 4, 4), torch.randn(1, WIDTH, 4, 4)
        found = layer(x, condition)
        hidden = F.leaky_relu(F.conv2d(condition, layer.hidden.weight, layer.hidden.bias, 1, 1))
        weight, bias = layer.last.weight, layer.last.bias
        gamma = F.conv2d(hidden, weight[:3], bias[:3], 1, 1)
        beta = F.conv2d(hidden, weight[3:], bias[3:], 1, 1)
    assert torch.allclose(found, x * (1 + gamma) + beta, atol=1e-5)


def test_conditions_of_every_scale() -> None:
    x = torch.randn(1, 4, 16, 8)
    for growing, sizes in ((False, [(16, 8), (8, 4), (4, 2)]), (True, [(16, 8), (32, 16)])):
        found = Conditions(4, len(sizes), growing)(x)
        assert [tuple(c.shape) for c in found] == [(1, WIDTH, *size) for size in sizes]
