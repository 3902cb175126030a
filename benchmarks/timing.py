"""How long one warm codec takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.metrics import Pixels


@dataclass(frozen=True)
class Timing:
    """Medians of one warm codec on one image, in seconds."""

    bytes: int
    encode_seconds: float
    decode_seconds: float


def time_codec(codec: ImageCodec, pixels: Pixels, quality: float, repeats: int = 5) -> Timing:
    """Median times after one unmeasured round; call it with nothing else running."""
    data = codec.encode(pixels, quality)
    encode = repeat(lambda: codec.encode(pixels, quality), repeats)
    decode = repeat(lambda: codec.decode(data), repeats)
    return Timing(len(data), statistics.median(encode), statistics.median(decode))


def repeat(job: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` calls after an unmeasured one."""
    job()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return times
