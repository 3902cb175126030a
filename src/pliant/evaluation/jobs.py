"""What the worker processes of an evaluation do: look at a picture, write a file, read it back."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pliant.errors import PliantError
from pliant.evaluation import codecs, metrics
from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import digest, read_rgb
from pliant.files import output_file

_WARM_SIDE = 128


@dataclass(frozen=True)
class Picture:
    """A file of the test set and what its pixels are."""

    path: Path
    digest: str
    width: int
    height: int


@dataclass(frozen=True)
class Written:
    """An encoded file: its bytes, the seconds of encoding, and the process's peak in MiB."""

    bytes: int
    seconds: float
    peak_memory: float


@dataclass(frozen=True)
class Decoded:
    """What came back from a file: the seconds of decoding, the metrics by name, and the names of
    those that are not defined for the picture."""

    seconds: float
    metrics: dict[str, float]
    undefined: tuple[str, ...]


def look(path: Path) -> Picture:
    """Reads the picture, upright and as RGB."""
    pixels = read_rgb(path)
    return Picture(path, digest(pixels), pixels.shape[1], pixels.shape[0])


def write(codec: str, image: Path, quality: float, file: Path) -> Written:
    """Encodes `image` with the codec of that name to `file`."""
    encode, pixels = warm(codec).encode, read_rgb(image)
    _reset_peak()
    started = time.perf_counter()
    data = encode(pixels, quality)
    seconds = time.perf_counter() - started
    peak = _peak_memory()
    file.parent.mkdir(parents=True, exist_ok=True)
    with output_file(file, force=True) as stream:
        stream.write(data)
    return Written(len(data), seconds, peak)


def read(codec: str, image: Path, file: Path, names: Sequence[str]) -> Decoded:
    """Decodes `file` and compares with `image` by the metrics of these names.

    Raises:
        PliantError: the decoded picture has another size.
    """
    decode, data = warm(codec).decode, file.read_bytes()
    started = time.perf_counter()
    decoded = decode(data)
    seconds = time.perf_counter() - started
    if not names:
        return Decoded(seconds, {}, ())
    pixels = read_rgb(image)
    if decoded.shape != pixels.shape:
        raise PliantError(f"decoded to shape {decoded.shape} instead of {pixels.shape}")
    values = {}
    for name in names:
        with contextlib.suppress(ValueError):  # not defined
            values[name] = metrics.PAIRWISE[name](pixels, decoded)
    return Decoded(seconds, values, tuple(name for name in names if name not in values))


@cache
def warm(codec: str) -> ImageCodec:
    """The codec with one thread, after a round trip that is part of no row's time."""
    found = codecs.find(codec, threads=1, separate_decoder=False)
    with contextlib.suppress(Exception):  # one that refuses the small picture starts cold
        found.decode(found.encode(_ramp(), found.qualities[0]))
    return found


def _ramp() -> Pixels:
    side = np.arange(_WARM_SIDE, dtype=np.uint8)
    return np.repeat(np.add.outer(side, side)[..., None], 3, axis=2)


def _reset_peak() -> None:
    """Linux only, as `_peak_memory`."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> float:
    """Largest resident memory of this process since `_reset_peak`, in MiB; 0 if unknown."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
