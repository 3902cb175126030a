"""The compiled loops of a level's surroundings give what the torch operations give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pliant.layers import loops
from pliant.layers.lifting import EXACT_LIMIT
from pliant.priors.surroundings import Context, local_contrast, surroundings

STATE = 5


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SMALLEST", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)


def integers(kind: str, shape: tuple[int, ...], seed: int, limit: float = 16383) -> Tensor:
    rng = np.random.default_rng(seed)
    values = {
        "zero": np.zeros(shape),
        "small": rng.laplace(scale=1.5, size=shape).round(),
        "large": rng.integers(-int(limit), int(limit) + 1, shape),
        "extreme": rng.choice([-limit, limit], shape),
    }[kind]
    return torch.from_numpy(values.astype(np.float32))


def context(kind: str, batch: int, height: int, width: int, halved: bool) -> Context:
    state = torch.randint(0, 128, (batch, STATE, height // (1 + halved), width // (1 + halved)))
    return Context(
        integers(kind, (batch, 9, height, width), 1),
        integers(kind, (batch, 3, 2 * height, 2 * width), 2, EXACT_LIMIT),
        state.to(torch.uint8),
        True,
    )


@pytest.mark.parametrize("kind", ["zero", "small", "large", "extreme"])
@pytest.mark.parametrize("size", [(1, 1), (4, 6), (2, 18)])
@pytest.mark.parametrize("batch", [1, 2])
def test_compiled_surroundings_equal_the_plain_ones(
    kind: str, size: tuple[int, int], batch: int
) -> None:
    halved = size != (1, 1)
    seen = context(kind, batch, *size, halved)
    widths = (3, 6, 12)
    plain = surroundings(seen, sum(widths), torch.float32)  # with gradients: torch operations
    with torch.no_grad():
        compiled = surroundings(seen, sum(widths), torch.uint8)
    assert torch.equal(plain.inputs, compiled.inputs.float())
    for planes in widths:
        assert torch.equal(plain.around(), compiled.around().float())
        shape = (batch, planes, *size)
        spread = 1 + integers(kind, shape, 3, 2.0**23).abs()
        out = torch.randint(-(2**17), 2**17, (batch, 2 * planes, *size)) / 256
        (scale, near), (scales, nears) = plain.expect(spread), compiled.expect(spread)
        assert torch.equal(scale, scales.float())
        assert torch.equal(near, nears.float())
        for factor in (1, 100):
            expected, found = plain.step(out * factor, scale), compiled.step(out * factor, scales)
            assert found.index.dtype == torch.uint8
            assert found.mean.dtype == torch.int16
            assert torch.equal(expected.index, found.index.float())
            assert torch.equal(expected.mean, found.mean.float())
        symbols = integers(kind, shape, planes)
        plain.tell(symbols)
        compiled.tell(symbols)
    assert torch.equal(plain.own(), compiled.own().float())


def test_local_contrast_is_the_distance_to_a_blurred_mean() -> None:
    picture = integers("small", (1, 3, 8, 12), 4)
    found = local_contrast(picture).numpy()
    blocks = picture.numpy()[0].reshape(3, 4, 2, 6, 2).sum((2, 4))
    padded = np.pad(blocks, ((0, 0), (1, 1), (1, 1)), mode="edge")
    for cell, (i, j) in enumerate([(0, 0), (1, 1), (0, 1), (1, 0)]):
        for c, y, x in np.ndindex(3, 4, 6):
            weights = np.outer([1, 2, 1], [1, 2, 1])
            mean = (padded[c, y : y + 3, x : x + 3] * weights).sum() / 64
            sample = float(picture[0, c, 2 * y + i, 2 * x + j])
            assert found[0, 3 * cell + c, y, x] == np.rint(sample - mean)
