"""Photos for training: decoded once into a memory map, cropped often, batches drawn ahead."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pliant.errors import PliantError, UsageError
from pliant.image import decoding

SUFFIXES = {".avif", ".webp", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm"}
LOSSLESS = {".webp", ".png", ".tif", ".tiff", ".bmp", ".ppm"}
HALVED_SHARE = 0.25
GRAPHIC_SHARE = 0.04  # of crops with areas of one colour, which photos hardly have
AHEAD = 3  # batches that wait for the training step


def cache_folder() -> Path:
    """Where decoded photos lie: $PLIANT_CACHE, or .cache here if that is not set or empty."""
    return Path(os.environ.get("PLIANT_CACHE") or ".cache")


def list_images(folders: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """All pictures below `folders`, sorted.

    Raises:
        UsageError: a folder does not exist or holds no picture.
    """
    files: list[Path] = []
    for folder in folders:
        if not Path(folder).is_dir():
            raise UsageError(f"there is no folder {folder}")
        found = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise UsageError(f"no pictures in {folder}")
        files += found
    return files


class PhotoStore:
    """Decoded photos as one uint8 memory map, made once and reused while the files are the same.

    Args:
        folders: searched for pictures, with their subfolders.
        cache: folder of the memory map.
        smallest: pictures with a shorter side are left out.

    Attributes:
        unreadable: files that are no pictures after all.

    Raises:
        UsageError: no folder, or no picture that is large enough.
    """

    def __init__(
        self, folders: Sequence[str | os.PathLike[str]], cache: Path, smallest: int
    ) -> None:
        files = list_images(folders)
        stamp = json.dumps([[str(f.resolve()), f.stat().st_size] for f in files] + [smallest])
        stem = cache / ("photos-" + hashlib.sha256(stamp.encode()).hexdigest()[:16])
        if not stem.with_suffix(".json").exists():
            self._decode(files, stem, smallest)
        index = json.loads(stem.with_suffix(".json").read_text())
        self.unreadable: list[str] = index.get("unreadable", [])
        self.shapes: list[tuple[int, int]] = [tuple(s) for s in index["shapes"]]
        self.lossless = np.array(index["lossless"], dtype=bool)
        self._clean = np.flatnonzero(self.lossless)
        self.offsets = np.concatenate([[0], np.cumsum([h * w * 3 for h, w in self.shapes])])
        raw = stem.with_suffix(".raw")
        self.pixels: NDArray[np.uint8] = np.memmap(raw, dtype=np.uint8, mode="r")

    @staticmethod
    def _decode(files: Sequence[Path], stem: Path, smallest: int) -> None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        shapes: list[tuple[int, int]] = []
        lossless: list[bool] = []
        unreadable: list[str] = []
        partial = stem.with_suffix(f".{os.getpid()}")
        with partial.open("wb") as out:
            for file in files:
                try:
                    with decoding(), Image.open(file) as image:
                        pixels = np.asarray(image.convert("RGB"))
                except (PliantError, OSError):
                    unreadable.append(str(file))
                    continue
                if min(pixels.shape[:2]) < smallest:
                    continue
                shapes.append((pixels.shape[0], pixels.shape[1]))
                lossless.append(file.suffix.lower() in LOSSLESS)
                out.write(np.ascontiguousarray(pixels).tobytes())
        if not shapes:
            partial.unlink()
            raise UsageError(f"no picture is at least {smallest} pixels in both directions")
        os.replace(partial, stem.with_suffix(".raw"))
        index = {"shapes": shapes, "lossless": lossless, "unreadable": unreadable}
        partial.write_text(json.dumps(index))
        os.replace(partial, stem.with_suffix(".json"))

    def photo(self, i: int) -> NDArray[np.uint8]:
        """Picture i as (H, W, 3), a view of the map."""
        height, width = self.shapes[i]
        return self.pixels[self.offsets[i] : self.offsets[i + 1]].reshape(height, width, 3)

    def batch(
        self, rng: np.random.Generator, crop: int, lossless_share: Sequence[float]
    ) -> NDArray[np.uint8]:
        """Random crops (B, 3, crop, crop), flipped and transposed at random.

        Every fourth crop is twice as large and halved, where the photo allows it: sharper and with
        less noise. A few get areas of one colour, as graphics and cut-out products have.

        Args:
            rng: the only source of chance.
            crop: side of the crops.
            lossless_share: for each crop the probability of drawing from losslessly stored photos
                only.
        """
        crops = []
        for share in lossless_share:
            only_clean = len(self._clean) > 0 and rng.random() < share
            i = int(rng.choice(self._clean) if only_clean else rng.integers(len(self.shapes)))
            height, width = self.shapes[i]
            halve = rng.random() < HALVED_SHARE and min(height, width) >= 2 * crop
            size = crop * (2 if halve else 1)
            top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
            part = self.photo(i)[top : top + size, left : left + size]
            if halve:
                means = part.reshape(crop, 2, crop, 2, 3).mean((1, 3), dtype=np.float32)
                part = np.rint(means).astype(np.uint8)
            if rng.random() < GRAPHIC_SHARE:
                part = _with_areas(rng, part)
            if rng.random() < 0.5:
                part = part[:, ::-1]
            if rng.random() < 0.5:
                part = part.swapaxes(0, 1)
            crops.append(part.transpose(2, 0, 1))
        return np.stack(crops)


def _with_areas(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rectangles of one colour each on a copy of (H, W, 3), half of the time covering all of it."""
    out = pixels.copy()
    corners = np.sort(rng.integers(0, len(pixels) + 1, (int(rng.integers(1, 7)), 2, 2)), 1)
    if rng.random() < 0.5:
        corners[0] = [[0, 0], pixels.shape[:2]]
    for (top, left), (bottom, right) in corners:
        grey = rng.random() < 0.5
        out[top:bottom, left:right] = rng.choice([0, 255]) if grey else rng.integers(0, 256, 3)
    return out


class Batch(NamedTuple):
    """Pictures (B, 3, H, W) in 0..255 as float32, and the rate parameter of each as float64."""

    image: Tensor
    rate: Tensor


Draw = Callable[[np.random.Generator], tuple[NDArray[np.uint8], NDArray[np.float64]]]
"""Pixels (B, 3, H, W) and rates (B,) of one batch; its generator is its only source of chance."""


class Batches:
    """Batches drawn ahead by one thread, in an order that depends on the generator alone.

    Args:
        draw: makes one batch.
        state: of the generator, as `Batches.state` gave it, or a seed.
        device: where the batches are needed.

    Attributes:
        state: of the generator after the last batch that was taken: what a resume needs.
    """

    def __init__(self, draw: Draw, state: dict[str, Any] | int, device: torch.device) -> None:
        self._rng = np.random.default_rng(state if isinstance(state, int) else None)
        if not isinstance(state, int):
            self._rng.bit_generator.state = state
        self.state: dict[str, Any] = dict(self._rng.bit_generator.state)
        self._draw, self._device = draw, device
        self._queue: queue.Queue[tuple[Tensor, Tensor, Any] | Exception] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        item: tuple[Tensor, Tensor, Any] | Exception
        while not self._closed.is_set():
            try:
                pixels, rates = self._draw(self._rng)
                image, rate = torch.from_numpy(pixels), torch.from_numpy(rates)
                if self._device.type == "cuda":
                    image, rate = image.pin_memory(), rate.pin_memory()
                item = image, rate, self._rng.bit_generator.state
            except Exception as error:
                item = error
                self._closed.set()
            self._queue.put(item)

    def take(self) -> Batch:
        """The next batch, on the device."""
        item = self._queue.get()
        if isinstance(item, Exception):
            raise item
        image, rate, self.state = item
        return Batch(
            image.to(self._device, non_blocking=True).float(),
            rate.to(self._device, non_blocking=True),
        )

    def close(self) -> None:
        """Ends the thread; what was drawn ahead is lost and will be drawn again."""
        self._closed.set()
        while self._thread.is_alive():  # it may wait for room in the queue
            try:
                self._queue.get(timeout=0.01)
            except queue.Empty:
                continue
