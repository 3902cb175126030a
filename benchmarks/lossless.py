"""Files without loss: Pliant at quality 100 beside PNG, WebP, JPEG 2000 and JPEG XL.

    python benchmarks/lossless.py DATA/kodak [FOLDER...]

Every file is decoded, Pliant's in another process, and must give back every pixel. Times are sums
over all photos, relative to JPEG XL's in the same run. Writes `lossless.{json,md}`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import environment
import imagecodecs
import numpy as np

from pliant.evaluation import codecs
from pliant.evaluation.codecs.through_pillow import load, save
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import images_in, read_rgb
from pliant.rate import BEST_QUALITY

RESULT = environment.RESULTS / "lossless.json"
RIVAL = "JPEG XL effort 7"  # times are relative to it


class Lossless(NamedTuple):
    """A codec without loss."""

    encode: Callable[[Pixels], bytes]
    decode: Callable[[bytes], Pixels]


def main() -> None:
    """Measures all codecs on all folders, prints and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("data", type=Path, nargs="+", help="folders of losslessly stored photos")
    parser.add_argument("--limit", type=int, help="only the first images of a folder")
    chosen = parser.parse_args()
    sets = {}
    for folder in chosen.data:
        photos = [read_rgb(path) for path in images_in(folder)[: chosen.limit]]
        found = {name: measure(codec, photos) for name, codec in _codecs().items()}
        sets[folder.resolve().name] = {"photos": len(photos), "codecs": _relative(found)}
    environment.write(RESULT, {"sets": sets})
    RESULT.with_suffix(".md").write_text(table(sets))
    print(table(sets))


def measure(codec: Lossless, photos: list[Pixels]) -> dict[str, Any]:
    """Bits per pixel of every photo, and the seconds that all of them took."""
    codec.decode(codec.encode(photos[0][:64, :64]))  # loads and compiles what it needs
    bpp, encode, decode = [], 0.0, 0.0
    for pixels in photos:
        started = time.perf_counter()
        data = codec.encode(pixels)
        encoded = time.perf_counter()
        found = codec.decode(data)
        decode += time.perf_counter() - encoded
        encode += encoded - started
        if not np.array_equal(found, pixels):
            raise SystemExit("a decoded picture is not the one that was encoded")
        bpp.append(round(8 * len(data) / (pixels.shape[0] * pixels.shape[1]), 4))
    mean = round(float(np.mean(bpp)), 4)
    return {"mean_bpp": mean, "encode_seconds": encode, "decode_seconds": decode, "bpp": bpp}


def table(sets: dict[str, Any]) -> str:
    """All codecs as Markdown, a table for each folder."""
    lines = ["# Files without loss", "", "`python benchmarks/lossless.py`", ""]
    for name, found in sets.items():
        lines += [f"## {name}, {found['photos']} photos", ""]
        lines += [f"| | bpp | to {RIVAL}, % | encode, times its | decode, times its |"]
        lines += ["|---|--:|--:|--:|--:|"]
        for codec, r in found["codecs"].items():
            times = f"{r['encode_ratio']:.2f} | {r['decode_ratio']:.2f}"
            lines.append(f"| {codec} | {r['mean_bpp']:.3f} | {r['percent']:+.1f} | {times} |")
        lines.append("")
    return "\n".join(lines)


def _relative(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    rival = dict(found[RIVAL])
    for record in found.values():
        record["percent"] = round(100 * (record["mean_bpp"] / rival["mean_bpp"] - 1), 2)
        for kind in ("encode", "decode"):
            ratio = record.pop(f"{kind}_seconds") / rival[f"{kind}_seconds"]
            record[f"{kind}_ratio"] = round(ratio, 3)
    return found


def _codecs() -> dict[str, Lossless]:
    pliant = codecs.find("pliant")
    jxl = partial(imagecodecs.jpegxl_encode, lossless=True, numthreads=1)
    return {
        "PNG, optimised": Lossless(lambda x: save(x, "PNG", optimize=True), load),
        "WebP method 4": Lossless(lambda x: save(x, "WEBP", lossless=True, method=4), load),
        "JPEG 2000 5/3": Lossless(lambda x: save(x, "JPEG2000", irreversible=False, mct=1), load),
        RIVAL: Lossless(
            lambda x: bytes(jxl(x, effort=7)),
            lambda data: np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1)),
        ),
        "Pliant quality 100": Lossless(lambda x: pliant.encode(x, BEST_QUALITY), pliant.decode),
    }


if __name__ == "__main__":
    main()
