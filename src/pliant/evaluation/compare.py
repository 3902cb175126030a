"""One picture through several codecs at equal bytes: which of them serves it best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from pliant.errors import LimitError, MissingError, PliantError, reason_of
from pliant.evaluation import codecs, metrics, sheet
from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.search import at_size
from pliant.evaluation.sheet import Box, Version
from pliant.picture import Picture

DEFAULT_CODECS = ("jpeg", "webp", "avif", "jxl", "heic", "pliant")
NEAR = 0.02  # a file this close to the wanted size, relatively, has it
COMPARABLE = 0.1  # one that misses it by more is no fair rival
NOTE_GREY = "every codec gets the grey picture as RGB"
NOTE_ALPHA = "transparency is composited on white: what is compared is opaque"

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One codec's file of the wanted size, or of the nearest that it can write.

    Attributes:
        reached: the codec can do the size, or nearly.
        note: how the size differs from the wanted one; empty where it does not.
        encode_seconds, decode_seconds: of one warm run.
        metrics: by name, as in `metrics.METRICS`; those that are not defined are left out.
    """

    codec: ImageCodec
    quality: float
    bytes: int
    decoded: Pixels
    reached: bool
    note: str
    encode_seconds: float
    decode_seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """All results, best first.

    Attributes:
        size: bytes that every codec was to spend.
        left_out: why a codec is not among the results, one sentence each.
    """

    pixels: Pixels
    size: int
    results: tuple[Result, ...]
    left_out: tuple[str, ...]

    def bpp(self, size: int) -> float:
        """Bits per pixel of a file of `size` bytes."""
        return 8 * size / (self.pixels.size / 3)

    def place(self) -> Box:
        """The square where the codecs differ most from the original."""
        return sheet.most_different(self.pixels, [result.decoded for result in self.results])


def flatten(picture: Picture) -> tuple[Pixels, tuple[str, ...]]:
    """The picture as uint8 (H, W, 3), which every codec can take, and a word on each change."""
    pixels, notes = metrics.as_rgb(picture.pixels), picture.notes
    if picture.pixels.shape[2] == 1:
        notes += (NOTE_GREY,)
    if picture.alpha is not None and picture.alpha.min() < 255:
        alpha = picture.alpha[..., None] / 255
        pixels = np.rint(pixels * alpha + 255 * (1 - alpha)).astype(np.uint8)
        notes += (NOTE_ALPHA,)
    return np.ascontiguousarray(pixels), notes


def compare(
    pixels: Pixels,
    specs: Sequence[str] = DEFAULT_CODECS,
    *,
    size: int | None = None,
    quality: float = 50.0,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Every codec's picture at equal bytes, by falling PSNR; those that cannot do it come last.

    Args:
        pixels: uint8 (H, W, 3).
        specs: as for `codecs.find`; those whose package is missing are left out.
        size: of every file; where it is not given, what Pliant needs at `quality`.
        threads: that a codec may use, where it can use several.
        progress: receives how many of how many codecs are done.

    Raises:
        UsageError: an unknown codec. MissingError: all codecs lack their packages.
        PliantError: all codecs fail.
    """
    found, left_out = _find(specs, threads)
    given: dict[str, tuple[float, bytes]] = {}
    if size is None:
        own = next((c for c in found if c.name.partition(":")[0] == "pliant"), None)
        own = own or _codec("pliant", threads)
        given[own.name] = quality, own.encode(pixels, quality)
        size = len(given[own.name][1])
    results = []
    for number, codec in enumerate(found):
        progress(number, len(found))
        try:
            results.append(_measure(codec, pixels, size, given.get(codec.name)))
        except Exception as error:  # foreign encoders raise almost anything
            left_out.append(f"{codec.label} fails on this picture: {reason_of(error)}")
    if not results:
        raise LimitError("; ".join(left_out))
    results = _with_metrics(pixels, results, threads)
    progress(len(found), len(found))
    results.sort(key=lambda result: (not result.reached, -result.metrics["psnr"]))
    return Comparison(pixels, size, tuple(results), tuple(left_out))


def _find(specs: Sequence[str], threads: int) -> tuple[list[ImageCodec], list[str]]:
    found: dict[str, ImageCodec] = {}
    left_out = []
    for spec in specs:
        try:
            codec = _codec(spec, threads)
        except MissingError as error:
            left_out.append(str(error))
            continue
        if codec.timing_only:
            left_out.append(f"{codec.label} has random weights here: it can only be timed")
        else:
            found[codec.name] = codec
    if not found:
        raise MissingError("; ".join(left_out))
    return list(found.values()), left_out


def _codec(spec: str, threads: int) -> ImageCodec:
    return codecs.find(spec, threads=threads, separate_decoder=False)


def _measure(
    codec: ImageCodec, pixels: Pixels, size: int, given: tuple[float, bytes] | None
) -> Result:
    """`given` is the quality and the file that need no search."""
    quality, data = given or at_size(codec, pixels, size)
    codec.decode(data)  # the first call may load libraries
    _, encode_seconds = _timed(lambda: codec.encode(pixels, quality))
    decoded, decode_seconds = _timed(lambda: codec.decode(data))
    if decoded.shape != pixels.shape:
        raise PliantError(f"decoded to shape {decoded.shape} instead of {pixels.shape}")
    reached, note = _judged(codec, quality, len(data), size)
    return Result(codec, quality, len(data), decoded, reached, note, encode_seconds, decode_seconds)


def _judged(codec: ImageCodec, quality: float, found: int, wanted: int) -> tuple[bool, str]:
    """Whether the size is reached, or nearly, and a note unless it is met."""
    miss = found / wanted - 1
    if abs(miss) <= NEAR:
        return True, ""
    if miss > 0 and quality == codec.search[0]:
        return False, "the smallest it can do"
    if miss < 0 and quality == codec.search[-1]:
        return False, "the largest it can do"
    return abs(miss) <= COMPARABLE, f"nearest step: {miss:+.1%}"


def _timed(function: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def _with_metrics(pixels: Pixels, results: Sequence[Result], threads: int) -> list[Result]:
    """All codecs have been timed by now, so that several metrics may be computed at once."""
    names = [name for name in metrics.available() if name != "psnr_y"]

    def value(result: Result, name: str) -> float:
        try:
            return float(metrics.METRICS[name].compute(pixels, result.decoded))
        except ValueError:  # not defined for this picture
            return math.nan

    with ThreadPoolExecutor(threads) as pool:
        pending = [[pool.submit(value, r, name) for name in names] for r in results]
        found = [dict(zip(names, (p.result() for p in row), strict=True)) for row in pending]
    return [
        replace(result, metrics={k: v for k, v in values.items() if not math.isnan(v)})
        for result, values in zip(results, found, strict=True)
    ]


def versions(comparison: Comparison) -> list[Version]:
    """What `sheet.draw` takes: the pictures and their captions, best first."""
    shown = []
    for result in comparison.results:
        bpp = comparison.bpp(result.bytes)
        size = f"{result.bytes} bytes, {bpp:.3f} bpp"
        quality = f"PSNR {result.metrics['psnr']:.2f} dB"
        if "ms_ssim" in result.metrics:
            quality += f", MS-SSIM {result.metrics['ms_ssim']:.4f}"
        lines = [result.codec.label, size, quality]
        if result.note:
            lines.append(result.note)
        shown.append(Version(tuple(lines), result.decoded))
    return shown
