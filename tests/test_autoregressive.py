"""The waves of the autoregressive prior, and the masked convolution that they replace."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pliant.layers.masked import TAPS, MaskedConv2d
from pliant.models.joint_autoregressive import JointAutoregressiveModel
from pliant.priors.autoregressive import waves


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1), (4, 4), (5, 13)])
def test_waves_cover_every_position_after_what_it_sees(size: tuple[int, int]) -> None:
    when: dict[tuple[int, int], int] = {}
    for number, (rows, columns) in enumerate(waves(*size)):
        for place in zip(rows.tolist(), columns.tolist(), strict=True):
            assert place not in when
            when[place] = number
    assert len(when) == size[0] * size[1]
    for (row, column), number in when.items():
        for up, left in TAPS:
            assert when.get((row + up, column + left), -1) < number


def test_the_mask() -> None:
    torch.manual_seed(0)
    layer = MaskedConv2d(3, 4)
    x = torch.randn(1, 3, 7, 8)
    expected = layer.bias[None, :, None, None].expand(1, 4, 7, 8).clone()
    padded = F.pad(x, (2, 2, 2, 2))
    for up, left in TAPS:
        shifted = padded[:, :, 2 + up : 9 + up, 2 + left : 10 + left]
        expected += torch.einsum("oi,bihw->bohw", layer.weight[:, :, 2 + up, 2 + left], shifted)
    assert torch.allclose(layer(x), expected, atol=1e-5)
    later = x.clone()
    later[:, :, 3, 4:], later[:, :, 4:] = 9, -9
    assert torch.equal(layer(later)[:, :, :3], layer(x)[:, :, :3])
    assert torch.equal(layer(later)[:, :, 3, :5], layer(x)[:, :, 3, :5])


def test_split_and_merge() -> None:
    prior = JointAutoregressiveModel(4, 6).prior
    latents = [torch.randn(2, 4, 2, 3), torch.randn(2, 6, 8, 12)]
    parts = prior.split(latents)
    assert len(parts) == 1 + 12 + 3 * 7
    merged = prior.merge(parts, (128, 192))
    assert all(torch.equal(a, b) for a, b in zip(merged, latents, strict=True))
