"""Invertible layers: their inverses, before and after training, and what each of them does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pliant.errors import MissingError
from pliant.layers.invertible import (
    ActNorm,
    Chain,
    Coupling,
    Haar,
    Invertible,
    InvertibleConv,
    SpaceToDepth,
    TwoSidedCoupling,
    bounded_scale,
)


def net(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, 8, 3, 1, 1), nn.LeakyReLU(), nn.Conv2d(8, outputs, 3, 1, 1)
    )


LAYERS: dict[str, Any] = {
    "samples first": lambda: SpaceToDepth(samples_first=True),
    "channels first": lambda: SpaceToDepth(samples_first=False),
    "haar": Haar,
    "act norm": lambda: ActNorm(12),
    "1x1": lambda: InvertibleConv(12),
    "coupling": lambda: Coupling(net(6, 12)),
    "additive": lambda: Coupling(net(6, 6), additive=True),
    "two-sided": lambda: TwoSidedCoupling(12, 4, net),
    "chain": lambda: Chain(
        [ActNorm(12), InvertibleConv(12), Coupling(net(6, 12)), TwoSidedCoupling(12, 4, net)]
    ),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def make(name: str) -> Invertible:
    torch.manual_seed(0)
    layer: Invertible = LAYERS[name]()
    for module in layer.modules():
        if isinstance(module, InvertibleConv):
            module.rotate()
    return layer


def samples(photo: Any) -> Tensor:
    """(2, 12, 32, 40) in 0..1: blocks of a photo."""
    parts = [torch.from_numpy(photo[k : k + 64, k : k + 80].copy()) for k in (0, 90)]
    image = torch.stack(parts).permute(0, 3, 1, 2).float() / 255
    return nn.functional.pixel_unshuffle(image, 2)


def error(layer: Invertible, x: Tensor) -> float:
    with torch.no_grad():
        return float((layer.inverse(layer(x)) - x).abs().max())


def trained(layer: Invertible, x: Tensor) -> None:
    """A few steps, through both directions."""
    optimiser = torch.optim.Adam(layer.parameters(), 1e-2)
    for _ in range(5):
        y = layer(x)
        optimiser.zero_grad()
        decoded = layer.inverse(y + 0.1 * torch.rand_like(y))
        (y.square().mean() + (decoded - x).square().mean()).backward()
        optimiser.step()


@every_layer
def test_the_inverse_is_exact(name: str, photo: Any) -> None:
    layer, x = make(name), samples(photo)
    layer.adapt(x)
    assert error(layer, x) < 1e-5
    assert error(layer.double(), x.double()) < 1e-12
    layer.float()
    if list(layer.parameters()):
        before = [p.detach().clone() for p in layer.parameters()]
        trained(layer, x)
        after = list(layer.parameters())
        assert all(bool((a != b).any()) for a, b in zip(before, after, strict=True))
    assert error(layer, x) < 1e-4
    assert error(layer.double(), x.double()) < 1e-10


def test_the_order_of_channels() -> None:
    ramp = torch.arange(16.0).view(1, 1, 4, 4)
    two = torch.cat((ramp, 100 + ramp), 1)
    blocks = [[0, 2, 8, 10], [1, 3, 9, 11], [4, 6, 12, 14], [5, 7, 13, 15]]
    for first in (True, False):
        layer = SpaceToDepth(samples_first=first)
        assert layer(ramp).flatten(2)[0].tolist() == blocks
        order = [0, 100, 1, 101, 4, 104, 5, 105] if first else [0, 1, 4, 5, 100, 101, 104, 105]
        assert layer(two)[0, :, 0, 0].tolist() == order
        assert torch.equal(layer.inverse(layer(two)), two)


def test_haar_keeps_averages() -> None:
    x = torch.rand(1, 3, 4, 6)
    y = Haar()(x)
    assert y.shape == (1, 12, 2, 3)
    assert torch.allclose(y[:, :3], nn.functional.avg_pool2d(x, 2))
    a, b, c, d = (x[0, 1, row, column] for row in (2, 3) for column in (4, 5))
    expected = [(a - b + c - d) / 4, (a + b - c - d) / 4, (a - b - c + d) / 4]
    assert torch.allclose(y[0, 4::3, 1, 2], torch.stack(expected))


def test_act_norm_takes_mean_and_spread_from_data(photo: Any) -> None:
    layer, x = ActNorm(12), samples(photo)
    assert torch.equal(layer(x), x)  # nothing happens by running it
    y = layer.adapt(x)
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(12), atol=1e-5)
    assert torch.allclose(y.movedim(1, 0).flatten(1).std(1), torch.ones(12), atol=1e-4)
    assert torch.equal(layer.eval()(x), y)
    flat = ActNorm(12).adapt(torch.full((2, 12, 4, 4), 0.3))  # areas of one colour
    assert float(flat.abs().max()) < 1


def test_scales_are_bounded_and_start_at_one() -> None:
    x = torch.tensor([-1e4, -3.0, 0.0, 3.0, 1e4])
    scale = bounded_scale(x)
    assert float(scale[2]) == 1
    assert scale[[0, 4]].tolist() == pytest.approx([np.exp(-1), np.e])
    assert bool((scale.diff() >= 0).all())


def test_couplings_leave_what_they_look_at() -> None:
    x = torch.rand(1, 12, 8, 8)
    y = make("coupling")(x)
    assert torch.equal(y[:, :6], x[:, :6])
    layer = make("two-sided")
    assert isinstance(layer, TwoSidedCoupling)
    low, high = x[:, :4], x[:, 4:]
    low = low * (2 * layer.low_scale(high).sigmoid() - 1).exp() + layer.low_shift(high)
    high = high * (2 * layer.high_scale(low).sigmoid() - 1).exp() + layer.high_shift(low)
    assert torch.allclose(layer(x), torch.cat((low, high), 1))


def test_the_inverse_of_a_1x1_is_made_once_and_anew_when_weights_change() -> None:
    layer = make("1x1")
    assert isinstance(layer, InvertibleConv)
    y = torch.rand(1, 12, 4, 4)
    with torch.no_grad():
        first = layer.inverse(y)
        assert layer._kept.get(layer.weight, "inverse", lambda: None) is not None
        layer.weight.mul_(2)
        assert torch.allclose(layer.inverse(y), first / 2)


def test_the_inverse_of_an_ill_conditioned_1x1_is_made_in_double_precision() -> None:
    torch.manual_seed(1)
    layer = InvertibleConv(8)
    left, right = (torch.linalg.qr(torch.randn(8, 8).double()).Q for _ in range(2))
    exact = left @ torch.diag(torch.logspace(0, -4, 8).double()) @ right
    with torch.no_grad():
        layer.weight.copy_(exact[:, :, None, None])
        found = layer._inverted()[:, :, 0, 0].double()
        expected = torch.linalg.inv(layer.weight[:, :, 0, 0].double())
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-7


def test_a_matrix_without_an_inverse_is_refused() -> None:
    layer = InvertibleConv(4)
    with torch.no_grad():
        layer.weight.zero_()
        with pytest.raises(MissingError, match="no inverse"):
            layer.inverse(torch.rand(1, 4, 2, 2))
    inverted = layer.inverse(torch.rand(1, 4, 2, 2))  # in training the step is skipped
    assert not bool(torch.isfinite(inverted).any())
