"""Codecs x images x qualities to rows: real file bytes and the quality of the decoded file.

Rows carry no timings, because parallel workers disturb each other; `time_codec` measures alone.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pliant.errors import UsageError
from pliant.evaluation import codecs, metrics
from pliant.evaluation.metrics import Pixels

IMAGE_SUFFIXES = frozenset({".png", ".webp", ".avif", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


@dataclass(frozen=True)
class Row:
    """One image through one codec at one quality; `bpp` is bits of the file per pixel."""

    codec: str
    image: str
    quality: float
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float


@dataclass(frozen=True)
class Timing:
    """Medians of one warm codec on one image, in seconds."""

    bytes: int
    encode_seconds: float
    decode_seconds: float


def read_rgb(path: Path) -> Pixels:
    """The upright image as uint8 (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder in the order of their names.

    Raises:
        UsageError: there is none.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise UsageError(f"no images in {folder}")
    return paths


def measure_one(codec: codecs.ImageCodec, image: str, pixels: Pixels, quality: float) -> Row:
    """Encodes, decodes the bytes and compares."""
    data = codec.encode(pixels, quality)
    decoded = codec.decode(data)
    height, width = pixels.shape[:2]
    return Row(
        codec=codec.name,
        image=image,
        quality=quality,
        bytes=len(data),
        bpp=8 * len(data) / (height * width),
        psnr=metrics.psnr(pixels, decoded),
        ms_ssim=metrics.ms_ssim(pixels, decoded),
    )


class RowCache:
    """Rows of released codecs on disk, one JSON-lines file per codec.

    A row is found again by codec, version, hash of the pixels and quality.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[tuple[str, str, str, float], Row] = {}
        for path in sorted(folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                row = Row(**entry["row"])
                self._rows[row.codec, entry["version"], entry["image"], row.quality] = row

    def get(self, codec: codecs.ImageCodec, image_hash: str, quality: float) -> Row | None:
        """The stored row, if there is one."""
        return self._rows.get((codec.name, codec.version, image_hash, quality))

    def put(self, codec: codecs.ImageCodec, image_hash: str, row: Row) -> None:
        """Appends one row to the file of its codec."""
        self._rows[codec.name, codec.version, image_hash, row.quality] = row
        self._folder.mkdir(parents=True, exist_ok=True)
        entry = {"version": codec.version, "image": image_hash, "row": asdict(row)}
        with (self._folder / f"{codec.name}.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")


@dataclass(frozen=True)
class _Task:
    """What one worker does in one go: one image through one codec at several qualities."""

    codec: str
    path: Path
    qualities: tuple[float, ...]

    def run(self) -> list[Row]:
        codec, pixels = codecs.find(self.codec), read_rgb(self.path)
        return [measure_one(codec, self.path.name, pixels, q) for q in self.qualities]


def measure(
    names: Sequence[str],
    paths: Sequence[Path],
    *,
    qualities: Mapping[str, Sequence[float]] | None = None,
    workers: int = 1,
    cache: RowCache | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Rows of every codec in `names` on every image, each at its own or the given qualities.

    Args:
        names: as for `codecs.find`.
        paths: images; their file names identify them in the rows.
        qualities: replaces the codec's own list, by codec name.
        workers: processes; each uses one thread per codec.
        cache: keeps the rows of released codecs between runs.
        progress: receives one line per codec and image.
    """
    rows: list[Row] = []
    tasks: list[_Task] = []
    hashes = {path.name: _hash(read_rgb(path)) for path in paths}
    found = {name: codecs.find(name) for name in names}
    for name, codec in found.items():
        wanted = tuple(map(float, (qualities or {}).get(name, codec.qualities)))
        for path in paths:
            known = {q: cache.get(codec, hashes[path.name], q) for q in wanted} if cache else {}
            rows += [replace(row, image=path.name) for row in known.values() if row]
            missing = tuple(q for q in wanted if not known.get(q))
            if missing:
                tasks.append(_Task(name, path, missing))
    for task, fresh in zip(tasks, _run(tasks, workers), strict=True):
        progress(f"{task.codec} {task.path.name}")
        rows += fresh
        if cache and found[task.codec].released:
            for row in fresh:
                cache.put(found[task.codec], hashes[task.path.name], row)
    return rows


def _hash(pixels: Pixels) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]


def _run(tasks: Sequence[_Task], workers: int) -> Iterator[list[Row]]:
    if workers <= 1:
        yield from map(_Task.run, tasks)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_Task.run, tasks)


def at_size(codec: codecs.ImageCodec, pixels: Pixels, size: int) -> tuple[int, bytes]:
    """The whole quality in 0..100 whose file comes nearest to `size` bytes, and that file."""
    low, high = 0, 100
    files = {q: codec.encode(pixels, q) for q in (low, high)}
    while high - low > 1:
        middle = (low + high) // 2
        files[middle] = codec.encode(pixels, middle)
        if len(files[middle]) <= size:
            low = middle
        else:
            high = middle
    return min(files.items(), key=lambda item: abs(len(item[1]) - size))


def time_codec(
    codec: codecs.ImageCodec, pixels: Pixels, quality: float, repeats: int = 5
) -> Timing:
    """Median times after one unmeasured round; call it with nothing else running."""
    data = codec.encode(pixels, quality)
    codec.decode(data)
    encode = statistics.median(_seconds(codec.encode, pixels, quality) for _ in range(repeats))
    decode = statistics.median(_seconds(codec.decode, data) for _ in range(repeats))
    return Timing(len(data), encode, decode)


def _seconds(function: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start
