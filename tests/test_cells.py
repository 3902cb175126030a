"""Samples of a 2x2 block to planes and back, by torch operations and by compiled loops."""

from __future__ import annotations

import pytest
import torch

from pliant.layers.cells import A, B, Cells, put, take


@pytest.mark.parametrize("cells", [A, B, (A[1],), (*A, *B)])
@pytest.mark.parametrize("channels", [slice(None), slice(0, 3), slice(3, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int32])
def test_compiled_loops_equal_torch(cells: Cells, channels: slice, dtype: torch.dtype) -> None:
    x = torch.randn(2, 9, 6, 10) * 100
    expected = take(x, cells, channels)
    samples = expected.to(dtype)
    target = torch.zeros_like(x)
    put(target, cells, samples, channels)
    with torch.no_grad():
        found, filled = take(x, cells, channels), torch.zeros_like(x)
        put(filled, cells, samples, channels)
    assert torch.equal(found, expected)
    assert torch.equal(filled, target)
    assert torch.equal(take(filled, cells, channels), samples.float())


def test_take_is_cell_major() -> None:
    x = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    assert take(x, B)[0, :, 0, 1].tolist() == [3, 19, 6, 22]
    with torch.no_grad():
        assert take(x, B)[0, :, 0, 1].tolist() == [3, 19, 6, 22]
