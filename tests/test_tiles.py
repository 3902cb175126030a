"""The tile plan: every sample in exactly one tile, views that line up in all latents."""

from __future__ import annotations

import pytest
import torch

from pliant import tiles
from pliant.header import Header
from pliant.tiles import Tile, canvas, crop_all, plan, tile_log2

SIZES = [(64, 64), (64, 5056), (5056, 64), (1024, 1024), (1088, 2112), (2048, 3072), (2560, 1984)]


def latents(height: int, width: int) -> list[torch.Tensor]:
    """Of a pyramid: each sample is its own number."""
    shapes = [
        (3, height >> 5, width >> 5),
        (9, height >> 5, width >> 5),
        (9, height >> 1, width >> 1),
    ]
    return [torch.arange(c * h * w).view(1, c, h, w) for c, h, w in shapes]


@pytest.mark.parametrize("log2", [0, 6, 10, 15])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_tiles_cover_the_picture_once_in_the_order_of_the_file(
    height: int, width: int, log2: int
) -> None:
    found = list(plan(height, width, log2))
    covered = torch.zeros(height, width, dtype=torch.uint8)
    for tile in found:
        covered[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
        assert tile.height % 64 == tile.width % 64 == 0
        assert log2 == 0 or max(tile.height, tile.width) <= 1 << log2
    assert bool((covered == 1).all())
    places = [(tile.top, tile.left) for tile in found]
    assert places == sorted(places)


@pytest.mark.parametrize("log2", [0, 6, 7, 10])
@pytest.mark.parametrize("size", [(1, 1), (63, 65), (64, 64), (1025, 64), (129, 2049)])
def test_the_plan_has_as_many_tiles_as_the_header_says(size: tuple[int, int], log2: int) -> None:
    height, width = size
    header = Header(width, height, "RGB", b"abcd", 0, log2)
    padded = [-(-n // 64) * 64 for n in size]
    assert len(list(plan(padded[0], padded[1], log2))) == header.tile_count


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_crops_put_together_are_the_picture(height: int, width: int) -> None:
    whole = latents(height, width)
    found: list[torch.Tensor] = []
    for tile in plan(height, width, 10):
        part = crop_all(whole, tile, height)
        assert [p.shape[2] for p in part] == [tile.height >> 5, tile.height >> 5, tile.height >> 1]
        assert all(p.data_ptr() >= w.data_ptr() for p, w in zip(part, whole, strict=True))
        found = found or canvas(part, tile, height, width, torch.int64)
        for target, source in zip(crop_all(found, tile, height), part, strict=True):
            target.copy_(source)
    assert all(torch.equal(a, b) for a, b in zip(found, whole, strict=True))


def test_a_crop_is_a_view() -> None:
    whole = latents(1088, 2112)
    for part in crop_all(whole, Tile(1024, 2048, 64, 64), 1088):
        part.zero_()
    assert [int(latent[0, 0, -1, -1]) for latent in whole] == [0, 0, 0]


def test_only_large_pictures_are_tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tile_log2(1, 1) == tile_log2(2048, 2048) == 0
    assert tile_log2(2049, 2048) == tile_log2(5 << 20, 1) == 10
    monkeypatch.setattr(tiles, "ONE_TILE_PIXELS", 0)
    monkeypatch.setattr(tiles, "TILE_LOG2", 6)
    assert tile_log2(1, 1) == 6


def test_surroundings_end_with_the_picture() -> None:
    height, width = 1088, 2112
    for tile in plan(height, width, 9):
        seen = tile.grown(128, height, width)
        assert seen.top in (0, tile.top - 128)
        assert seen.left in (0, tile.left - 128)
        assert seen.bottom == min(tile.bottom + 128, height)
        assert seen.right == min(tile.right + 128, width)
        whole = torch.arange(height * width).view(1, 1, height, width)
        part = tile.within(seen).crop(seen.crop(whole, height), seen.height)
        assert torch.equal(part, tile.crop(whole, height))
