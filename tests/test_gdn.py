"""Divisive normalisation against its formula; its inverse; and the bound that lets gradients by."""

from __future__ import annotations

import torch

from pliant.layers.bound import lower_bound
from pliant.layers.gdn import GDN


def test_the_formula() -> None:
    torch.manual_seed(0)
    beta, gamma = torch.rand(4) + 0.2, torch.rand(4, 4)
    layer, inverse = GDN(4), GDN(4, inverse=True)
    with torch.no_grad():
        for module in (layer, inverse):
            module.beta.copy_((beta + 2**-36).sqrt())
            module.gamma.copy_((gamma + 2**-36).sqrt())
    x = torch.randn(2, 4, 3, 5)
    norm = (beta[:, None] + gamma @ x.flatten(2).square()).sqrt().view_as(x)
    assert torch.allclose(layer(x), x / norm, atol=1e-5)
    assert torch.allclose(inverse(x), x * norm, atol=1e-5)


def test_an_untrained_layer_divides_by_a_little_more_than_one() -> None:
    x = torch.ones(1, 3, 1, 1)
    assert torch.allclose(GDN(3)(x), x / 1.1**0.5, atol=1e-6)
    assert sum(p.numel() for p in GDN(3).parameters()) == 3 + 9


def test_negative_weights_count_as_none() -> None:
    layer = GDN(2)
    with torch.no_grad():
        layer.gamma.fill_(-1.0)
        layer.beta.fill_(-1.0)
    x = torch.full((1, 2, 1, 1), 3.0)
    assert torch.allclose(layer(x), x / 1e-3, rtol=1e-3)  # the smallest beta is 1e-6


def test_gradients_lead_back_above_the_bound() -> None:
    x = torch.tensor([-1.0, -1.0, 2.0, 2.0], requires_grad=True)
    out = lower_bound(x, 0.5)
    assert out.tolist() == [0.5, 0.5, 2.0, 2.0]
    out.backward(torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, -1.0, 1.0, -1.0]
