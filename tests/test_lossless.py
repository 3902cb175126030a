"""Quality 100: every pixel comes back, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pliant import codec as codec_module
from pliant import container, tiles
from pliant.codec import Codec
from pliant.errors import LimitError
from pliant.models.lossless import LosslessModel
from pliant.models.pyramid import PyramidModel
from pliant.models.registry import Entry, Loaded
from pliant.picture import Picture
from pliant.transforms.reversible import ReversiblePyramid

LOSSLESS = "small-lossless"
LOSSY_ENTRY = Entry("small", PyramidModel, sha256="11" * 32, lossless=LOSSLESS)
ENTRY = Entry(LOSSLESS, LosslessModel, sha256="22" * 32)


@torch.no_grad()
def loaded(entry: Entry, **config: Any) -> Loaded:
    torch.manual_seed(5)
    model = entry.build(widths=(8, 8, 8), **config).eval()
    for parameter in model.prior.parameters():  # type: ignore[attr-defined]
        parameter.add_(torch.randn_like(parameter) * 0.02)
    return Loaded(entry, model.requires_grad_(False), model.tables())


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Codec, Codec]]:
    """A small default codec, and the lossless one beside it."""
    lossy, lossless = Codec(loaded(LOSSY_ENTRY, restoration=8)), Codec(loaded(ENTRY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_module, "load", lambda name, _device: {LOSSLESS: lossless}[name])
        patch.setattr(codec_module.registry, "entry", {LOSSLESS: ENTRY}.__getitem__)
        yield lossy, lossless


def test_colours_come_back() -> None:
    values = torch.tensor([0.0, 1.0, 2.0, 127.0, 128.0, 254.0, 255.0])
    colours = torch.cartesian_prod(values, values, values)
    image = torch.zeros(1, 3, 32, 32)
    image.view(3, -1)[:, : len(colours)] = colours.T
    transform = ReversiblePyramid()
    latents = transform.analysis(image)
    assert all(torch.equal(y, y.round()) for y in latents)
    assert torch.equal(transform.synthesis(latents), image)


def test_grey_has_no_chroma() -> None:
    grey = torch.arange(256.0).view(1, 1, 8, 32).repeat(1, 3, 4, 1)
    low, *details = ReversiblePyramid().analysis(grey)
    assert not low[:, 1:].any()
    assert not any(bool(d[:, 3:].any()) for d in details)


@pytest.mark.parametrize("size", [(1, 1), (65, 127)])
@pytest.mark.parametrize("kind", ["photo", "noise", "extremes"])
def test_files_lose_nothing(
    size: tuple[int, int], kind: str, photo: Any, both: tuple[Codec, Codec]
) -> None:
    rng = np.random.default_rng(1)
    pixels = {
        "photo": photo[: size[0], : size[1]],
        "noise": rng.integers(0, 256, (*size, 3), np.uint8),
        "extremes": rng.choice(np.array([0, 255], np.uint8), (*size, 3)),
    }[kind]
    lossy, lossless = both
    data = lossy.encode(pixels, quality=100)
    assert container.read_header(data).model_id == ENTRY.model_id
    assert np.array_equal(lossy.decode(data).pixels, pixels)
    assert np.array_equal(lossless.decode(data).pixels, pixels)
    assert all(torch.equal(y, y.round()) for y in lossy.decode_symbols(data))


def test_below_100_something_is_lost(photo: Any, both: tuple[Codec, Codec]) -> None:
    lossy, _ = both
    data = lossy.encode(photo[:64, :64], quality=99.98)
    header = container.read_header(data)
    assert (header.model_id, header.rate) == (LOSSY_ENTRY.model_id, 0)
    assert not np.array_equal(lossy.decode(data).pixels, photo[:64, :64])


def test_grey_alpha_and_what_lies_under_it_come_back(photo: Any, both: tuple[Codec, Codec]) -> None:
    lossy, _ = both
    alpha = np.zeros((50, 70), np.uint8)
    alpha[10:20] = 255
    for pixels in (photo[:50, :70], photo[:50, :70, :1]):
        found = lossy.decode(lossy.encode(Picture(pixels, alpha), quality=100))
        assert np.array_equal(found.pixels, pixels)
        assert found.alpha is not None
        assert np.array_equal(found.alpha, alpha)


def test_tiles_and_blocks_lose_nothing(
    photo: Any, both: tuple[Codec, Codec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "ONE_TILE_PIXELS", 64 * 64)
    monkeypatch.setattr(tiles, "TILE_LOG2", 7)
    monkeypatch.setattr("pliant.models.blocks.BLOCK_LOG2", 7)
    lossy, _ = both
    pixels = photo[:190, :270]
    data = lossy.encode(pixels, quality=100)
    assert container.read_header(data).tile_count > 1
    assert np.array_equal(lossy.decode(data).pixels, pixels)


def test_targets_end_without_loss(photo: Any, both: tuple[Codec, Codec]) -> None:
    lossy, _ = both
    pixels = photo[:64, :64]
    whole = lossy.encode(pixels, quality=100)
    assert lossy.encode(pixels, psnr=90) == whole
    assert lossy.encode(pixels, size=len(whole)) == whole
    assert lossy.encode(pixels, bpp=24.0) == whole
    less = lossy.encode(pixels, size=len(whole) - 1)
    assert len(less) < len(whole)
    assert container.read_header(less).model_id == LOSSY_ENTRY.model_id
    with pytest.raises(LimitError, match="too few"):
        lossy.encode(pixels, size=10)


def test_training_adopts_the_prior_of_the_default_model() -> None:
    lossy, lossless = PyramidModel((8, 8, 8), restoration=8), LosslessModel((8, 8, 8))
    lossless.load_state_dict(lossless.adopted(lossy.state_dict()))
    ours = lossless.prior.inner.state_dict()  # type: ignore[attr-defined]
    theirs = lossy.prior.state_dict()  # type: ignore[attr-defined]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    again = lossless.adopted(lossless.state_dict())
    assert again.keys() == lossless.state_dict().keys()
