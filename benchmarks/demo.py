"""Photos through Pliant and its rivals: a table, and a picture to look at.

    python benchmarks/demo.py [--photos FOLDER]

Every Pliant file is decoded by the command line in a process of its own; the rivals get the quality
whose file is nearest in size. Speeds are those of the warm codec in this process. Files, decoded
images and `comparison.png` go to `demo-output/`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import command_line
import photos
from PIL import Image
from timing import time_codec

from pliant.errors import PliantError
from pliant.evaluation import codecs, metrics, sheet
from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.search import at_size
from pliant.evaluation.sheet import Version

QUALITIES = (20, 50, 80)
RIVALS = ("jpeg-420", "webp", "avif-444", "jxl")


@dataclass(frozen=True)
class Result:
    """One file of one codec and what came back from it."""

    label: str
    quality: float
    bpp: float
    psnr: float
    ms_ssim: float
    encode_mps: float
    decode_mps: float
    bytes: int
    decoded: Pixels


def main() -> int:
    """Prints the tables, writes the picture; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare Pliant with its rivals on photos.")
    parser.add_argument("--photos", type=Path, help="folder; scikit-image's photos by default")
    parser.add_argument("--limit", type=int, default=4, help="at most so many photos")
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    arguments = parser.parse_args()
    try:
        _demo(photos.load(arguments.photos, arguments.limit), arguments.out)
    except PliantError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _demo(images: dict[str, Pixels], out: Path) -> None:
    threads = os.cpu_count() or 1
    pliant = codecs.find("pliant", threads=threads, separate_decoder=False)
    rivals = [codecs.find(name, threads=threads) for name in RIVALS]
    out.mkdir(parents=True, exist_ok=True)
    everything: dict[tuple[str, int], list[Result]] = {}
    for name, pixels in images.items():
        print(f"\n{name}, {pixels.shape[1]}x{pixels.shape[0]}")
        print(_HEAD)
        for quality in QUALITIES:
            results = list(_compare(name, pixels, quality, pliant, rivals, out))
            print("\n".join(map(_line, results)))
            everything[name, quality] = results
    _print_means(everything)
    rows = [_comparison(images[name], everything[name, QUALITIES[0]]) for name in images]
    sheet.stack(rows).save(out / "comparison.png")
    print(f"\npicture (quality {QUALITIES[0]}): {out / 'comparison.png'}")


def _compare(
    name: str,
    pixels: Pixels,
    quality: int,
    pliant: ImageCodec,
    rivals: Sequence[ImageCodec],
    out: Path,
) -> Iterator[Result]:
    data = pliant.encode(pixels, quality)
    file = out / f"{name}-q{quality}.pli"
    file.write_bytes(data)
    decoded = command_line.decode(file, file.with_suffix(".png"))
    yield _result(pliant, quality, pixels, data, decoded)
    for rival in rivals:
        best, rival_data = at_size(rival, pixels, len(data))
        yield _result(rival, best, pixels, rival_data, rival.decode(rival_data))


def _result(
    codec: ImageCodec, quality: float, pixels: Pixels, data: bytes, decoded: Pixels
) -> Result:
    timing = time_codec(codec, pixels, quality, repeats=3)
    megapixels = pixels.shape[0] * pixels.shape[1] / 1e6
    large = min(pixels.shape[:2]) >= metrics.MS_SSIM_MIN_SIDE
    return Result(
        label=codec.label,
        quality=quality,
        bpp=8 * len(data) / (megapixels * 1e6),
        psnr=metrics.psnr(pixels, decoded),
        ms_ssim=metrics.ms_ssim(pixels, decoded) if large else float("nan"),
        encode_mps=megapixels / timing.encode_seconds,
        decode_mps=megapixels / timing.decode_seconds,
        bytes=len(data),
        decoded=decoded,
    )


# --- the table ----------------------------------------------------------------------------------

_HEAD = (
    f"  {'codec':20} {'quality':>7} {'bytes':>8} {'bpp':>7} {'PSNR':>7} {'MS-SSIM':>8}"
    f" {'enc MP/s':>9} {'dec MP/s':>9}"
)


def _line(result: Result) -> str:
    return (
        f"  {result.label:20} {result.quality:7.1f} {result.bytes:8d} {result.bpp:7.3f}"
        f" {result.psnr:7.2f} {result.ms_ssim:8.4f}"
        f" {result.encode_mps:9.2f} {result.decode_mps:9.2f}"
    )


def _print_means(everything: dict[tuple[str, int], list[Result]]) -> None:
    print("\nmeans over the photos at nearly equal bytes: bpp, PSNR, MS-SSIM")
    for quality in QUALITIES:
        groups = [results for (_, q), results in everything.items() if q == quality]
        print(f"  Pliant quality {quality}")
        for column in zip(*groups, strict=True):
            bpp, psnr, ms_ssim = (
                statistics.fmean(getattr(result, field) for result in column)
                for field in ("bpp", "psnr", "ms_ssim")
            )
            print(f"    {column[0].label:20} {bpp:7.3f} {psnr:7.2f} {ms_ssim:8.4f}")


# --- the picture --------------------------------------------------------------------------------


def _comparison(pixels: Pixels, results: Sequence[Result]) -> Image.Image:
    """The photo with its frame, then the zoomed crop of the original and of every codec."""
    versions = [
        Version(
            (result.label, f"{result.bytes} bytes", f"PSNR {result.psnr:.2f} dB"), result.decoded
        )
        for result in results
    ]
    box = sheet.most_different(pixels, [result.decoded for result in results])
    return sheet.draw(pixels, versions, box, columns=len(results) + 2)


if __name__ == "__main__":
    raise SystemExit(main())
