"""How long warm codecs take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.metrics import Pixels


@dataclass(frozen=True)
class Timing:
    """One warm codec on one image: medians and the fastest of all times, in seconds."""

    bytes: int
    encode_seconds: float
    decode_seconds: float
    fastest_encode_seconds: float
    fastest_decode_seconds: float


def time_codec(codec: ImageCodec, pixels: Pixels, quality: float, repeats: int = 5) -> Timing:
    """Times after one unmeasured round; call it with nothing else running."""
    return time_in_turns({"": (codec, quality)}, pixels, 1, repeats)[""]


def time_in_turns(
    codecs: Mapping[str, tuple[ImageCodec, float]], pixels: Pixels, turns: int, repeats: int
) -> dict[str, Timing]:
    """Times of codecs at their qualities, which take turns: what disturbs one disturbs all.

    Args:
        turns: of each codec.
        repeats: in each turn, after an unmeasured one.
    """
    files = {name: codec.encode(pixels, quality) for name, (codec, quality) in codecs.items()}
    encode: dict[str, list[float]] = {name: [] for name in codecs}
    decode: dict[str, list[float]] = {name: [] for name in codecs}
    for _ in range(turns):
        for name, (codec, quality) in codecs.items():
            encode[name] += repeat(partial(codec.encode, pixels, quality), repeats)
            decode[name] += repeat(partial(codec.decode, files[name]), repeats)
    return {
        name: Timing(
            len(files[name]),
            statistics.median(encode[name]),
            statistics.median(decode[name]),
            min(encode[name]),
            min(decode[name]),
        )
        for name in codecs
    }


def repeat(job: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` calls after an unmeasured one."""
    job()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return times
