"""Photos for training: decoded once into a memory map, cropped often."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pliant.errors import UsageError

SUFFIXES = {".avif", ".webp", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm"}
LOSSLESS = {".webp", ".png", ".tif", ".tiff", ".bmp", ".ppm"}


def list_images(folders: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """All pictures below `folders`, sorted.

    Raises:
        UsageError: a folder does not exist or holds no picture.
    """
    files: list[Path] = []
    for folder in folders:
        found = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise UsageError(f"no pictures in {folder}")
        files += found
    return files


class PhotoStore:
    """Decoded photos as one uint8 memory map, made once and reused while files and sizes are the same."""

    def __init__(self, folders: Sequence[str | os.PathLike[str]], cache: Path, smallest: int) -> None:
        files = list_images(folders)
        stamp = json.dumps([[str(f.resolve()), f.stat().st_size] for f in files] + [smallest])
        stem = cache / ("photos-" + hashlib.sha256(stamp.encode()).hexdigest()[:16])
        if not stem.with_suffix(".json").exists():
            self._decode(files, stem, smallest)
        index = json.loads(stem.with_suffix(".json").read_text())
        self.shapes: list[tuple[int, int]] = [tuple(s) for s in index["shapes"]]
        self.lossless = np.array(index["lossless"], dtype=bool)
        self.offsets = np.concatenate([[0], np.cumsum([h * w * 3 for h, w in self.shapes])])
        self.pixels: NDArray[np.uint8] = np.memmap(stem.with_suffix(".raw"), dtype=np.uint8, mode="r")

    @staticmethod
    def _decode(files: Sequence[Path], stem: Path, smallest: int) -> None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        shapes: list[tuple[int, int]] = []
        lossless: list[bool] = []
        partial = stem.with_suffix(".partial")
        with partial.open("wb") as out:
            for file in files:
                with Image.open(file) as image:
                    pixels = np.asarray(image.convert("RGB"))
                if min(pixels.shape[:2]) < smallest:
                    continue
                shapes.append((pixels.shape[0], pixels.shape[1]))
                lossless.append(file.suffix.lower() in LOSSLESS)
                out.write(np.ascontiguousarray(pixels).tobytes())
        if not shapes:
            raise UsageError(f"no picture is at least {smallest} pixels in both directions")
        os.replace(partial, stem.with_suffix(".raw"))
        stem.with_suffix(".json").write_text(json.dumps({"shapes": shapes, "lossless": lossless}))

    def photo(self, i: int) -> NDArray[np.uint8]:
        """Picture i as (H, W, 3), a view of the map."""
        height, width = self.shapes[i]
        return self.pixels[self.offsets[i] : self.offsets[i + 1]].reshape(height, width, 3)

    def batch(
        self, rng: np.random.Generator, count: int, crop: int, lossless_share: Sequence[float]
    ) -> Tensor:
        """(count, 3, crop, crop) float32 in 0..255: random crops, flipped and transposed at random.

        Every fourth crop is twice as large and halved, where the photo allows it: sharper and with less noise.

        Args:
            lossless_share: for each crop the probability of drawing from losslessly stored photos only.
        """
        crops = []
        clean = np.flatnonzero(self.lossless)
        for share in lossless_share:
            only_clean = len(clean) > 0 and rng.random() < share
            i = int(rng.choice(clean)) if only_clean else int(rng.integers(len(self.shapes)))
            height, width = self.shapes[i]
            halve = rng.random() < 0.25 and min(height, width) >= 2 * crop
            size = crop * (2 if halve else 1)
            top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
            part = self.photo(i)[top : top + size, left : left + size].astype(np.float32)
            if halve:
                part = np.rint(part.reshape(crop, 2, crop, 2, 3).mean((1, 3)))
            if rng.random() < 0.5:
                part = part[:, ::-1]
            if rng.random() < 0.5:
                part = part.swapaxes(0, 1)
            crops.append(np.ascontiguousarray(part.transpose(2, 0, 1)))
        return torch.from_numpy(np.stack(crops))
