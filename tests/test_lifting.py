"""The wavelet: perfect reconstruction in float, the integer merge against plain integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from pliant.layers import loops
from pliant.layers.lifting import (
    CDF97,
    CDF97_SCALE,
    EXACT53,
    EXACT_LIMIT,
    merge_2d,
    merge_2d_exact,
    split_2d,
    split_2d_exact,
)
from pliant.transforms.pyramid import MULTIPLE, PyramidTransform

Integers = npt.NDArray[np.int64]
TAPS = (-203, -7, 113, 57)  # in 1/128
UP, DOWN = 294, 223  # in 1/256
LIMIT = int(EXACT_LIMIT)


def scaled(x: Integers, factor: int, bits: int = 7) -> Integers:
    """x * factor / 2**bits, rounded half to even."""
    product = x * factor
    half = 1 << (bits - 1)
    result: Integers = (product + half - 1 + ((product >> bits) & 1)) >> bits
    return result


def lift(x: Integers, neighbours: Integers, tap: int) -> Integers:
    return (x + scaled(neighbours, tap)).clip(-LIMIT, LIMIT)


def merge_rows(low: Integers, high: Integers) -> Integers:
    """One synthesis level along the first axis, index by index."""
    n = len(low)
    after, before = np.minimum(np.arange(n) + 1, n - 1), np.maximum(np.arange(n) - 1, 0)
    even = lift(low, high + high[before], -TAPS[3])
    odd = lift(high, even + even[after], -TAPS[2])
    even = lift(even, odd + odd[before], -TAPS[1])
    odd = lift(odd, even + even[after], -TAPS[0])
    out = np.empty((2 * n, *low.shape[1:]), np.int64)
    out[0::2], out[1::2] = even, odd
    return out


def merge(low: Integers, hl: Integers, lh: Integers, hh: Integers) -> Integers:
    """One plane (h, w) and its three bands to (2h, 2w)."""

    def scale(x: Integers, factor: int) -> Integers:
        return scaled(x, factor, 8).clip(-LIMIT, LIMIT)

    first = merge_rows(scale(low, DOWN), scale(lh, UP))
    second = merge_rows(scale(hl, DOWN), scale(hh, UP))
    return merge_rows(scale(first, DOWN).T, scale(second, UP).T).T


def planes(kind: str, channels: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    shape = (2, channels, 6, 10)
    values = {
        "small": rng.integers(-40, 41, shape),
        "large": rng.integers(-LIMIT, LIMIT + 1, shape),
        "extreme": rng.choice([-LIMIT, LIMIT], shape),
        "highest": np.full(shape, LIMIT),
        "lowest": np.full(shape, -LIMIT),
    }[kind]
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.parametrize("kind", ["small", "large", "extreme", "highest", "lowest"])
def test_exact_merge_equals_plain_integers(kind: str) -> None:
    low, details = planes(kind, 3, 1), planes(kind, 9, 2)
    found = merge_2d_exact(low, details).numpy()
    with torch.no_grad():
        assert np.array_equal(merge_2d_exact(low, details).numpy(), found)
    assert np.abs(found).max() <= LIMIT
    bands = details.numpy().astype(np.int64)
    for b in range(2):
        for c in range(3):
            expected = merge(low[b, c].numpy().astype(np.int64), *bands[b, 3 * c : 3 * c + 3])
            assert np.array_equal(found[b, c], expected)


def test_extreme_input_reaches_the_clamp() -> None:
    found = merge_2d_exact(planes("extreme", 3, 1), planes("extreme", 9, 2))
    assert float(found.abs().max()) == LIMIT


def test_exact_merge_approximates_the_float_inverse(photo: Any) -> None:
    image = torch.from_numpy(photo[:256, :320].copy()).permute(2, 0, 1)[None].float() - 128
    low, details = split_2d(image, CDF97, CDF97_SCALE)
    found = merge_2d_exact((low * 4).round(), (details * 4).round()) / 4
    # taps and scales in 1/128 are not quite those of CDF 9/7: the mean loses 0.6 % a level
    assert float((found - image).abs().mean()) < 2


@pytest.mark.parametrize("size", [(2, 2), (2, 64), (64, 2), (4, 6), (6, 4), (8, 10), (38, 50)])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_compiled_loops_equal_torch(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], threads: int
) -> None:
    monkeypatch.setattr(loops, "SMALLEST", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(4)) * 255 - 128
    taps, scale = torch.tensor(CDF97).unbind(), torch.tensor(CDF97_SCALE)
    integers = [(planes(kind, 3, 5), planes(kind, 9, 6)) for kind in ("small", "large", "extreme")]

    def everything() -> tuple[list[Tensor], list[Tensor]]:
        low, details = split_2d(x, taps, scale)
        exact = [merge_2d_exact(*bands) for bands in integers]
        return exact, [low, details, merge_2d(low, details, taps, scale)]

    with torch.no_grad():
        exact, floats = everything()
    expected = everything()
    assert all(torch.equal(a, b) for a, b in zip(exact, expected[0], strict=True))
    for found, real in zip(floats, expected[1], strict=True):
        # gradients need the multiplication and the addition apart
        assert float((found - real.detach()).abs().max()) <= 1e-3


@pytest.mark.parametrize("size", [(2, 2), (2, 64), (64, 2), (38, 50)])
@pytest.mark.parametrize("compiled", [False, True])
def test_one_level_of_integers_loses_nothing(size: tuple[int, int], compiled: bool) -> None:
    x = torch.randint(-511, 512, (2, 3, *size), generator=torch.Generator().manual_seed(3)).float()
    with torch.set_grad_enabled(not compiled):
        low, details = split_2d_exact(x, EXACT53)
        assert torch.equal(merge_2d_exact(low, details, EXACT53), x)
    assert torch.equal(low, low.round())
    assert torch.equal(details, details.round())
    expected = split_2d_exact(x, EXACT53)
    assert torch.equal(low, expected[0])
    assert torch.equal(details, expected[1])


def test_reversible_details_are_differences_from_the_mean_of_neighbours() -> None:
    row = torch.tensor([[10.0, 17.0, 20.0, 20.0, 24.0, 30.0]])
    x = row.expand(2, 6)[None, None]
    low, details = split_2d_exact(x, EXACT53)
    # 17 - 15, 20 - 22, 30 - 24; vertically nothing changes
    assert details[0, :, 0].tolist() == [[2, -2, 6], [0, 0, 0], [0, 0, 0]]
    # 10 + (2 + 2) / 4, 20 + (2 - 2) / 4, 24 + (-2 + 6) / 4
    assert low[0, 0, 0].tolist() == [11, 20, 25]


@pytest.mark.parametrize("size", [(2, 2), (2, 64), (64, 2), (38, 50)])
def test_one_level_is_inverted(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3)) * 255
    low, details = split_2d(x, CDF97, CDF97_SCALE)
    assert low.shape == (2, 3, size[0] // 2, size[1] // 2)
    assert details.shape == (2, 9, size[0] // 2, size[1] // 2)
    assert float((merge_2d(low, details, CDF97, CDF97_SCALE) - x).abs().max()) < 1e-3


def test_photos_are_reconstructed_perfectly(photos: dict[str, Any]) -> None:
    transform = PyramidTransform()
    torch.manual_seed(5)
    for trained in (False, True):
        if trained:  # any taps, scales and colours are invertible
            with torch.no_grad():
                for p in transform.parameters():
                    p.add_(torch.randn_like(p) * 0.01)
        for pixels in photos.values():
            height, width = (n // MULTIPLE * MULTIPLE for n in pixels.shape[:2])
            image = torch.from_numpy(pixels[:height, :width].copy()).permute(2, 0, 1)[None].float()
            with torch.no_grad():
                again = transform.synthesis(transform.analysis(image))
            assert float((again - image).abs().max()) < 1e-3


def test_bands_are_close_to_orthonormal(photo: Any) -> None:
    """One step size for all bands: unit noise in any band gives about unit noise in the picture."""
    transform = PyramidTransform()
    with torch.no_grad():
        shapes = [y.shape for y in transform.analysis(torch.zeros(1, 3, 256, 256))]
        for i, shape in enumerate(shapes):
            latents = [torch.zeros(s) for s in shapes]
            latents[i] = torch.randn(shape, generator=torch.Generator().manual_seed(i))
            energy = float((transform.synthesis(latents) - 128).square().sum())
            assert 0.7 < energy / float(latents[i].square().sum()) < 1.5
