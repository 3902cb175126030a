"""MSINN's rates: anchors, gains between them, and more anchors afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_zoo import config_of
from torch import nn

from pliant.layers.anchor_gains import (
    ANCHOR_WEIGHTS,
    SMALL_ANCHOR_WEIGHTS,
    AnchorTable,
    anchor_rates,
)
from pliant.layers.exact import RateBias, RateVector
from pliant.models import registry
from pliant.models.msinn import MsinnModel
from pliant.units import RATE_MAX

NAMES = ["msinn", "exact msinn refined"]
every_model = pytest.mark.parametrize("name", NAMES)


def vector(*rates: float) -> RateVector:
    return RateVector(torch.tensor(rates, dtype=torch.float64))


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_anchors_lie_at_rate_parameters() -> None:
    for anchors in (8, 12):
        rates = anchor_rates(anchors)
        assert (rates[0], rates[-1], len(rates)) == (RATE_MAX, 0, anchors)
        model = MsinnModel(ANCHOR_WEIGHTS[:anchors], (2,) * 4, 1, (2,) * 5, (0, 0), 0)
        found, weights = model.anchor_points(torch.arange(anchors))
        assert found.tolist() == rates
        assert weights.tolist() == list(ANCHOR_WEIGHTS[:anchors])
    ratios = np.diff(np.log(ANCHOR_WEIGHTS))
    assert np.exp(ratios[:7]) == pytest.approx([1.93] * 7, rel=0.03)
    assert np.exp(ratios[7:]) == pytest.approx([1.778] * 4, rel=0.01)


def test_gains_between_anchors() -> None:
    table = AnchorTable(8, 5)
    with torch.no_grad():
        table.logs.copy_(torch.randn(8, 5))
        rates = anchor_rates(8)
        at = table(vector(*rates))[:, :, 0, 0]
        assert torch.allclose(at, torch.exp2(table.logs))
        middle = table(vector((rates[2] + rates[3]) / 2))[0, :, 0, 0]
        assert torch.allclose(middle, (at[2] * at[3]).sqrt(), rtol=1e-5)
        assert torch.allclose(table(vector(0))[0, :, 0, 0], at[7])  # the last anchor itself


def test_gains_cannot_become_negative_or_vanish() -> None:
    table = AnchorTable(3, 4)
    with torch.no_grad():
        table.logs.fill_(-50.0)
    for rate in (0, 300.5, RATE_MAX):
        factors = table(vector(rate))
        assert torch.allclose(factors, torch.full_like(factors, 0.01))
    (-table(vector(0)).sum()).backward()  # gradients that raise it pass
    assert table.logs.grad is not None


def test_between_anchors_only_anchors_are_bounded() -> None:
    """Else the bound would bend the path from one to the other, and not that of its inverse."""
    table = AnchorTable(2, 1)
    with torch.no_grad():
        table.logs.copy_(torch.tensor([[-6.0], [-9.0]]))  # the second is below the bound
        first, last = float(table(vector(RATE_MAX))), float(table(vector(0)))
        assert last == pytest.approx(0.01)
        middle = float(table(vector(RATE_MAX / 2)))
    assert middle == pytest.approx((first * last) ** 0.5, rel=1e-4)


@every_model
def test_from_8_anchors_to_12(name: str) -> None:
    config = {**config_of(name), "weights": ANCHOR_WEIGHTS[:8]}
    torch.manual_seed(0)
    before, after = MsinnModel(**config), MsinnModel(**{**config, "weights": ANCHOR_WEIGHTS})
    with torch.no_grad():
        for parameter in (*before.gains.parameters(), *_biases(before)):
            parameter.copy_(torch.randn_like(parameter))
    after.load_state_dict(after.adopted(before.state_dict()))
    assert count(after) - count(before) == (3 if name == "msinn" else 2) * 4 * 138
    gains, olds = after.anchor_gains, before.anchor_gains
    steps = -0.5 * np.log2(np.divide(ANCHOR_WEIGHTS[8:], ANCHOR_WEIGHTS[7]))
    finer = torch.from_numpy(steps).float()[:, None] if after.linear else torch.zeros(4, 1)
    for sign, table, old in ((1, gains.main, olds.main), (-1, gains.inverse, olds.inverse)):
        assert torch.equal(table.logs[:8], old.logs)
        assert torch.allclose(table.logs[8:], old.logs[7] - sign * finer, atol=1e-5)
    again = after.adopted(after.state_dict())
    assert all(torch.equal(again[k], v) for k, v in after.state_dict().items())


def test_biases_keep_the_rates_that_they_are_for() -> None:
    """What an exact prior says at an anchor, it says there after the change, nearly."""
    config = {**config_of("exact msinn refined"), "weights": ANCHOR_WEIGHTS[:8]}
    before, after = MsinnModel(**config), MsinnModel(**{**config, "weights": ANCHOR_WEIGHTS})
    with torch.no_grad():
        for table in _biases(before):
            table.copy_(torch.arange(9.0)[None, :, None].expand_as(table))  # r / 256
    state = after.adopted(before.state_dict())
    after.load_state_dict(state)
    for anchor in range(12):
        old, new = anchor_rates(8)[min(anchor, 7)], anchor_rates(12)[anchor]
        for table in _biases(after):
            place = new / 256
            low = min(int(place), 7)
            found = torch.lerp(table[0, low], table[0, low + 1], place - low)
            assert torch.allclose(found, torch.tensor(old / 256), atol=0.3)


def _biases(model: MsinnModel) -> list[nn.Parameter]:
    return [m.anchors for m in model.modules() if isinstance(m, RateBias)]


def test_the_small_size_reaches_lower() -> None:
    """Its anchors begin below the published ones, are spread evenly, and end where those end."""
    assert SMALL_ANCHOR_WEIGHTS[0] < ANCHOR_WEIGHTS[0] / 2
    assert SMALL_ANCHOR_WEIGHTS[7:] == pytest.approx(ANCHOR_WEIGHTS[7:])
    ratios = np.exp(np.diff(np.log(SMALL_ANCHOR_WEIGHTS)))
    assert ratios[:7] == pytest.approx([2.21] * 7, rel=0.01)
    model = registry.build("msinn-small")
    assert isinstance(model, MsinnModel)
    _, weights = model.anchor_points(torch.arange(8))
    assert weights.tolist() == list(SMALL_ANCHOR_WEIGHTS[:8])
