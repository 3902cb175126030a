"""Training data: what is decoded, what is cropped, and that its order depends on the seed alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pliant.errors import UsageError
from pliant.training import data
from pliant.training.data import Batches, PhotoStore, list_images

CPU = torch.device("cpu")
Pixels = NDArray[np.uint8]


def noise(height: int, width: int, seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One photo of each kind, one that is too small, one that is broken, and a text file."""
    inside = tmp_path / "photos" / "inside"
    inside.mkdir(parents=True)
    Image.fromarray(noise(100, 140, 1)).save(inside / "a.png")
    Image.fromarray(noise(80, 70, 2)).save(inside / "b.jpg", quality=95)
    Image.fromarray(noise(70, 20, 3)).save(inside / "small.png")
    (inside / "broken.png").write_bytes(b"no picture")
    (inside / "odd.ppm").write_bytes(b"P6 2jjPhooP999999999 7 255 ")
    (inside / "readme.txt").write_text("no picture")
    return tmp_path / "photos"


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> PhotoStore:
    return PhotoStore([folder], tmp_path / "cache", 64)


def test_photos_are_decoded_as_they_are(store: PhotoStore) -> None:
    assert store.shapes == [(100, 140), (80, 70)]
    assert store.lossless.tolist() == [True, False]
    assert np.array_equal(store.photo(0), noise(100, 140, 1))
    assert [Path(name).name for name in store.unreadable] == ["broken.png", "odd.ppm"]


def test_photos_are_decoded_once(
    folder: Path, tmp_path: Path, store: PhotoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PhotoStore, "_decode", None)
    again = PhotoStore([folder], tmp_path / "cache", 64)
    assert np.array_equal(again.photo(1), store.photo(1))
    assert again.unreadable == store.unreadable
    monkeypatch.undo()
    Image.fromarray(noise(90, 90, 4)).save(folder / "c.png")
    assert len(PhotoStore([folder], tmp_path / "cache", 64).shapes) == 3


def test_missing_data_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        list_images([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no pictures in"):
        list_images([folder, tmp_path / "empty"])
    with pytest.raises(UsageError, match="at least 512 pixels"):
        PhotoStore([folder], tmp_path / "cache", 512)
    assert not list((tmp_path / "cache").iterdir())


def test_crops_come_from_the_photos(store: PhotoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "HALVED_SHARE", 0.0)
    crops = store.batch(np.random.default_rng(5), 64, [0.0] * 8)
    assert crops.shape == (8, 3, 64, 64)
    assert crops.dtype == np.uint8
    corners = {tuple(p) for i in range(2) for p in store.photo(i).reshape(-1, 3).tolist()}
    assert {tuple(c[:, 0, 0].tolist()) for c in crops} <= corners
    assert len({c.tobytes() for c in crops}) == 8


def test_clean_crops_come_from_lossless_photos(
    store: PhotoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "HALVED_SHARE", 0.0)
    lossless = {tuple(p) for p in store.photo(0).reshape(-1, 3).tolist()}
    crops = store.batch(np.random.default_rng(6), 64, [1.0] * 12)
    assert {tuple(c[:, 0, 0].tolist()) for c in crops} <= lossless


def test_halved_crops_are_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    pixels = noise(16, 16, 7)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    monkeypatch.setattr(data, "HALVED_SHARE", 1.0)
    store = PhotoStore([tmp_path / "photos"], tmp_path / "cache", 8)
    means = np.rint(pixels.reshape(8, 2, 8, 2, 3).mean((1, 3))).astype(np.uint8)
    turned = [means, means[:, ::-1]]
    turned += [m.swapaxes(0, 1) for m in turned]
    for crop in store.batch(np.random.default_rng(8), 8, [0.0] * 8):
        assert any(np.array_equal(crop.transpose(1, 2, 0), t) for t in turned)


def numbers(rng: np.random.Generator) -> tuple[Pixels, NDArray[np.float64]]:
    return rng.integers(0, 256, (2, 3, 4, 4), dtype=np.uint8), rng.random(2)


def test_batches_go_on_where_they_were_left() -> None:
    first = Batches(numbers, 3, CPU)
    straight = [first.take() for _ in range(6)]
    first.close()
    second = Batches(numbers, 3, CPU)
    start = second.state
    for _ in range(3):
        second.take()
    time.sleep(0.05)  # the thread has drawn ahead by now
    middle = second.state
    second.close()
    for state, expected in ((start, straight), (middle, straight[3:])):
        third = Batches(numbers, state, CPU)
        for batch in expected:
            image, rate = third.take()
            assert image.dtype == torch.float32
            assert torch.equal(image, batch.image)
            assert torch.equal(rate, batch.rate)
        third.close()


def test_errors_of_the_thread_arrive() -> None:
    def fail(rng: np.random.Generator) -> Any:
        raise OSError("the disk is gone")

    batches = Batches(fail, 1, CPU)
    with pytest.raises(OSError, match="the disk is gone"):
        batches.take()
    batches.close()


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    for taken in range(3):
        batches = Batches(numbers, taken, CPU)
        for _ in range(taken):
            batches.take()
        batches.close()
    assert threading.active_count() == before
