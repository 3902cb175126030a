"""``pliant encode``: image files → .pli files."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import re
import time
from typing import TYPE_CHECKING, Any

from pliant.cli import arguments, batch
from pliant.cli.batch import STREAM, Job
from pliant.cli.console import Console
from pliant.files import check_target, output_file

if TYPE_CHECKING:
    from pliant.codec import Codec
    from pliant.picture import Picture

DEFAULT_QUALITY = 50.0
_EXTENSION = re.compile(r"(?<=[^/\\])\.[A-Za-z][A-Za-z0-9]{0,4}$")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "encode",
        help="image files to .pli files",
        description="Encode images. The default output is the input's name with .pli.",
        allow_abbrev=False,
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "-q",
        "--quality",
        type=arguments.quality,
        metavar="Q",
        help="0 to 100, where nothing is lost (default 50)",
    )
    target.add_argument("--bpp", type=arguments.positive, help="bits of the file per pixel")
    target.add_argument(
        "--size",
        type=arguments.count,
        metavar="BYTES",
        help="most bytes of the file, e.g. 120k, 1.5M",
    )
    target.add_argument(
        "--psnr", type=arguments.positive, metavar="DB", help="PSNR over RGB in decibels"
    )
    parser.add_argument("--model", default="default", metavar="NAME", help="see pliant models")
    parser.add_argument(
        "--no-metadata",
        action="store_true",
        help="drop EXIF and XMP (the ICC profile stays: without it colours would change)",
    )
    arguments.add_file_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Encode every input and return the exit code."""
    jobs = batch.plan(args.inputs, args.output, _rename, console)

    @functools.cache
    def codec() -> Codec:
        with batch.for_all_inputs():
            from pliant.codec import load

            return load(args.model)

    def work(job: Job) -> None:
        started = time.perf_counter()
        if job.target != STREAM:
            check_target(job.target, force=args.force, source=job.source)
        picture = _read(job.source)
        if args.no_metadata:
            picture = dataclasses.replace(picture, exif=None, xmp=None)
        data = codec().encode(picture, **_goal(args))
        if job.target == STREAM:
            batch.write_stdout(data)
        else:
            with output_file(job.target, force=args.force, source=job.source) as stream:
                stream.write(data)
        batch.report(
            console,
            job,
            data,
            quality=args.quality,
            notes=picture.notes,
            seconds=time.perf_counter() - started,
        )

    return batch.run(jobs, work, console, args.max_pixels)


def _read(source: str) -> Picture:
    from pliant.image import read

    return read(io.BytesIO(batch.read_bytes(source)) if source == STREAM else source)


def _goal(args: argparse.Namespace) -> dict[str, Any]:
    """Return the one target that was asked for, quality 50 when none was."""
    goals = {name: getattr(args, name) for name in ("quality", "bpp", "size", "psnr")}
    asked = {name: value for name, value in goals.items() if value is not None}
    return asked or {"quality": DEFAULT_QUALITY}


def _rename(source: str) -> str:
    """Return the input's path with .pli in place of its extension, if it has one."""
    return _EXTENSION.sub("", source) + ".pli"
