"""``pliant compare``: one picture through every codec at equal bytes, as a table and a picture."""

from __future__ import annotations

import argparse
import io
import math
import os
import time
from typing import TYPE_CHECKING, Any

from pliant.cli import arguments, batch
from pliant.cli.batch import STREAM, Job
from pliant.cli.console import Console
from pliant.cli.encode import DEFAULT_QUALITY
from pliant.errors import UsageError
from pliant.files import check_target, output_file

if TYPE_CHECKING:
    from pliant.evaluation.compare import Comparison, Result
    from pliant.evaluation.sheet import Box

_SUFFIX = ".compare.png"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "compare",
        help="which codec is best for a picture",
        description="Encode one picture with every codec at equal bytes, print a table and write a"
        " PNG with the same crop of all of them.",
        allow_abbrev=False,
    )
    parser.add_argument("input", type=arguments.name, metavar="IN", help="image file, - for stdin")
    parser.add_argument(
        "-o",
        "--output",
        type=arguments.name,
        metavar="OUT",
        help=f"the PNG (default IN's name with {_SUFFIX})",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--size", type=arguments.count, metavar="BYTES", help="of every file, e.g. 120k, 1.5M"
    )
    target.add_argument("--bpp", type=arguments.positive, help="bits of every file per pixel")
    target.add_argument(
        "-q",
        "--quality",
        type=arguments.quality,
        default=DEFAULT_QUALITY,
        metavar="Q",
        help="what Pliant needs at this quality (default 50)",
    )
    parser.add_argument(
        "--codec",
        action="append",
        dest="codecs",
        metavar="NAME[:MODEL][@KEY=VALUE,...]",
        help="may be repeated (default jpeg, webp, avif, jxl, heic and pliant)",
    )
    parser.add_argument(
        "--crop", type=_box, metavar="X,Y,W,H", help="what to show (default: where codecs differ)"
    )
    parser.add_argument(
        "--max-pixels",
        type=arguments.count,
        metavar="N",
        help="refuse a larger image (default 268M)",
    )
    arguments.add_report_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Compare, print, draw, and return the exit code."""
    job = Job(args.input, _target(args))
    check_target(job.target, force=args.force, source=job.source)
    return batch.run([job], lambda job: _compare(job, args, console), console, args.max_pixels)


def _compare(job: Job, args: argparse.Namespace, console: Console) -> None:
    started = time.perf_counter()
    from pliant import image

    data = batch.read_bytes(job.source)
    picture = image.read(io.BytesIO(data))
    from pliant.evaluation import compare, sheet

    pixels, notes = compare.flatten(picture)
    box = None if args.crop is None else sheet.Box(*args.crop)
    if box is not None:
        box.check(pixels)
    size = args.size
    if args.bpp is not None:
        size = max(1, int(args.bpp * pixels.shape[0] * pixels.shape[1] / 8))
    threads = os.cpu_count() or 1
    with console.bar("codec") as progress:
        found = compare.compare(
            pixels,
            args.codecs or compare.DEFAULT_CODECS,
            size=size,
            quality=args.quality,
            threads=threads,
            progress=progress,
        )
    box = box or found.place()
    drawn = sheet.draw(pixels, compare.versions(found), box)
    with output_file(job.target, force=args.force, source=job.source) as stream:
        icc = picture.icc if picture.pixels.shape[2] == 3 else None
        drawn.save(stream, "PNG", icc_profile=icc)
    remarks = [*notes, *(f"left out: {reason}" for reason in found.left_out)]
    seconds = time.perf_counter() - started
    record = _record(job, found, box, remarks, threads, seconds)
    console.data(record, _table(job, found, threads))
    for remark in remarks:
        console.note(remark)
    console.note(f"{job.target}: crops of {box.width} × {box.height} pixels, {seconds:.0f} s")


def _target(args: argparse.Namespace) -> str:
    if args.output is None:
        if args.input == STREAM:
            raise UsageError("name the picture to write with -o")
        return os.path.splitext(str(args.input))[0] + _SUFFIX
    if not args.output.lower().endswith(".png"):
        raise UsageError(f"the picture is a PNG: {args.output} should end in .png")
    return str(args.output)


def _box(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"{text} is not X,Y,W,H")
    return numbers


# --- the output ---------------------------------------------------------------------------------


def _table(job: Job, found: Comparison, threads: int) -> str:
    from pliant.evaluation.metrics import METRICS

    height, width = found.pixels.shape[:2]
    names = list(dict.fromkeys(name for result in found.results for name in result.metrics))
    labels = [METRICS[name].label for name in names]
    head = ["codec", "quality", "bytes", "bpp", *labels, "enc MP/s", "dec MP/s", ""]
    rows = [head, *(_cells(found, result, names) for result in found.results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        f"{job.source}, {width} × {height}: every codec at {found.size} bytes,"
        f" {found.bpp(found.size):.3f} bpp"
    ]
    for row in rows:
        first, *rest = (
            cell.rjust(width) if 0 < column < len(row) - 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    lines.append(f"by PSNR; speeds of one warm run with up to {threads} threads")
    return "\n".join(lines)


def _cells(found: Comparison, result: Result, names: list[str]) -> list[str]:
    return [
        result.codec.label,
        f"{result.quality:.4g}",
        str(result.bytes),
        f"{found.bpp(result.bytes):.3f}",
        *(_number(name, result.metrics.get(name)) for name in names),
        f"{_speed(found, result.encode_seconds):.3g}",
        f"{_speed(found, result.decode_seconds):.3g}",
        result.note,
    ]


def _number(name: str, value: float | None) -> str:
    from pliant.evaluation.metrics import METRICS

    if value is None:
        return "-"
    metric = METRICS[name]
    return f"{value:.2f}" if metric.unit == "dB" or metric.best == 100 else f"{value:.4f}"


def _speed(found: Comparison, seconds: float) -> float:
    """Megapixels per second."""
    return found.pixels.size / 3e6 / seconds


def _record(
    job: Job, found: Comparison, box: Box, notes: list[str], threads: int, seconds: float
) -> dict[str, Any]:
    height, width = found.pixels.shape[:2]
    return {
        "input": job.source,
        "output": job.target,
        "width": width,
        "height": height,
        "bytes": found.size,
        "bpp": found.bpp(found.size),
        "crop": list(box),
        "codecs": [_codec_record(found, result) for result in found.results],
        "threads": threads,
        "seconds": seconds,
        "notes": notes,
    }


def _codec_record(found: Comparison, result: Result) -> dict[str, Any]:
    values = {k: v if math.isfinite(v) else None for k, v in result.metrics.items()}
    return {
        "codec": result.codec.name,
        "label": result.codec.label,
        "version": result.codec.version,
        "quality": result.quality,
        "bytes": result.bytes,
        "bpp": found.bpp(result.bytes),
        "metrics": values,
        "encode_mps": _speed(found, result.encode_seconds),
        "decode_mps": _speed(found, result.decode_seconds),
        "reached": result.reached,
        "note": result.note,
    }
