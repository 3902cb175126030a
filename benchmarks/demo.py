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
import numpy as np
import photos
from PIL import Image, ImageDraw, ImageFont

from pliant.errors import PliantError
from pliant.evaluation import codecs, metrics, run
from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.metrics import Pixels

QUALITIES = (20, 50, 80)
RIVALS = ("jpeg-420", "webp", "avif-444", "jxl")
CROP, ZOOM = 96, 3


@dataclass(frozen=True)
class Result:
    """One file of one codec and what came back from it."""

    label: str
    quality: int
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
    rows = [(images[name], everything[name, QUALITIES[0]]) for name in images]
    _comparison(rows).save(out / "comparison.png")
    print(f"\npicture (quality {QUALITIES[0]}, crops x{ZOOM}): {out / 'comparison.png'}")


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
        best, rival_data = run.at_size(rival, pixels, len(data))
        yield _result(rival, best, pixels, rival_data, rival.decode(rival_data))


def _result(
    codec: ImageCodec, quality: int, pixels: Pixels, data: bytes, decoded: Pixels
) -> Result:
    timing = run.time_codec(codec, pixels, quality, repeats=3)
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
        f"  {result.label:20} {result.quality:7d} {result.bytes:8d} {result.bpp:7.3f}"
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


def _comparison(rows: Sequence[tuple[Pixels, Sequence[Result]]]) -> Image.Image:
    """One line per photo: the photo with its frame, then the zoomed crop of the original and of
    every codec."""
    cell, caption = CROP * ZOOM, 40
    columns = len(rows[0][1]) + 2
    sheet = Image.new("RGB", (columns * (cell + 6), len(rows) * (cell + caption)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for line, (pixels, results) in enumerate(rows):
        top, left = _busiest(pixels)
        cells = [("photo", _framed(pixels, top, left, cell))]
        cells.append(("original", _zoom(pixels, top, left)))
        for result in results:
            text = f"{result.label}\n{result.bytes} bytes, {result.psnr:.2f} dB"
            cells.append((text, _zoom(result.decoded, top, left)))
        for column, (text, picture) in enumerate(cells):
            x, y = column * (cell + 6), line * (cell + caption)
            sheet.paste(picture, (x, y + caption))
            draw.multiline_text((x + 2, y + 4), text, fill="black", font=font)
    return sheet


def _zoom(pixels: Pixels, top: int, left: int) -> Image.Image:
    crop = Image.fromarray(pixels[top : top + CROP, left : left + CROP])
    return crop.resize((crop.width * ZOOM, crop.height * ZOOM), Image.Resampling.NEAREST)


def _framed(pixels: Pixels, top: int, left: int, cell: int) -> Image.Image:
    photo = Image.fromarray(pixels)
    frame = (left, top, left + CROP - 1, top + CROP - 1)
    ImageDraw.Draw(photo).rectangle(frame, outline="red", width=max(2, max(photo.size) // 200))
    photo.thumbnail((cell, cell), Image.Resampling.LANCZOS)
    return photo


def _busiest(pixels: Pixels) -> tuple[int, int]:
    """Top and left of the crop with the strongest gradients."""
    grey = pixels.mean(2)
    steps = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    tops = range(0, max(1, steps.shape[0] - CROP + 1), CROP // 3)
    lefts = range(0, max(1, steps.shape[1] - CROP + 1), CROP // 3)
    return max(
        ((top, left) for top in tops for left in lefts),
        key=lambda at: float(steps[at[0] : at[0] + CROP, at[1] : at[1] + CROP].sum()),
    )


if __name__ == "__main__":
    raise SystemExit(main())
