"""``pliant decode``: .pli files → image files."""

from __future__ import annotations

import argparse
import io
import os
import time
from typing import TYPE_CHECKING

from pliant.cli import arguments, batch
from pliant.cli.batch import STREAM, Job
from pliant.cli.console import Console
from pliant.container import read, read_header
from pliant.files import check_target
from pliant.limits import check_limits

if TYPE_CHECKING:
    from pliant.picture import Picture


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "decode",
        help=".pli files to image files",
        description="Decode .pli files. The default output is the input's name with .png.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--format", metavar="F", help="png, jpg, webp, avif, tiff … (default: by -o, else png)"
    )
    arguments.add_file_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Decode every input and return the exit code."""
    from pliant.export import format_for

    key = None if args.format is None else format_for(args.format)
    jobs = batch.plan(args.inputs, args.output, lambda name: _rename(name, key or "png"), console)

    def work(job: Job) -> None:
        started = time.perf_counter()
        form = key or format_for(os.path.splitext(job.target)[1] or "png")
        if job.target != STREAM:
            check_target(job.target, force=args.force, source=job.source)
        data = batch.read_pliant(job.source)
        # Refuse damage and absurd sizes before torch and the weights are loaded.
        check_limits(read_header(data))
        read(data)
        from pliant.codec import model_for

        picture = model_for(data).decode(data)
        notes = picture.notes + _save(picture, job.target, form, force=args.force)
        seconds = time.perf_counter() - started
        batch.report(console, job, data, notes=notes, seconds=seconds)

    return batch.run(jobs, work, console, args.max_pixels)


def _save(picture: Picture, target: str, form: str, *, force: bool) -> tuple[str, ...]:
    from pliant.export import save

    if target != STREAM:
        return save(picture, target, form, force=force)
    buffer = io.BytesIO()
    notes = save(picture, buffer, form)
    batch.write_stdout(buffer.getvalue())
    return notes


def _rename(source: str, extension: str) -> str:
    """Return the input's path with the extension in place of .pli, if it ends so."""
    stem, suffix = os.path.splitext(source)
    if suffix.lower() != ".pli" or not os.path.basename(stem):
        stem = source
    return f"{stem}.{extension}"
