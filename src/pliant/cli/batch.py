"""Several inputs, one after the other: where each goes, and what happens when one fails."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

from pliant.cli.console import Console, standard_output
from pliant.container import contents
from pliant.errors import (
    DamagedError,
    OutputError,
    PliantError,
    UsageError,
    enough_memory,
)
from pliant.files import make_folder
from pliant.summary import info

STREAM = "-"


class Job(NamedTuple):
    """One input and its output; ``-`` is stdin or stdout."""

    source: str
    target: str


def check_inputs(inputs: Sequence[str]) -> None:
    """Raise UsageError when standard input is to be read more than once."""
    if inputs.count(STREAM) > 1:
        raise UsageError("standard input can be read only once")


def plan(
    inputs: Sequence[str], output: str | None, rename: Callable[[str], str], console: Console
) -> list[Job]:
    """Return the jobs; ``rename`` makes an output's name from an input's path.

    An output folder is created when needed. Raises UsageError for contradictory requests.
    """
    check_inputs(inputs)
    several = len(inputs) > 1
    if output == STREAM and several:
        raise UsageError("several inputs cannot all go to standard output; give a folder with -o")
    folder = None
    if output is not None and output != STREAM:
        folder = output if several or os.path.isdir(output) or output.endswith(os.sep) else None
    jobs = [Job(source, _target(source, output, folder, rename)) for source in inputs]
    _check_jobs(jobs, console)
    if folder is not None:
        make_folder(folder)
    return jobs


def run(
    jobs: Sequence[Job], work: Callable[[Job], None], console: Console, max_pixels: int | None
) -> int:
    """Do every job, report failures, and return the exit code.

    One failed input of several gives 1, a single input its own code. What fails `for_all_inputs`
    and a standard output that cannot be written end the run at once.
    """
    codes = []
    with _pixel_limit(max_pixels):
        for job in console.progress(jobs):
            try:
                with enough_memory():
                    work(job)
            except (BrokenPipeError, OutputError):
                raise
            except _EndOfRun as end:
                raise end.reason from None
            except (PliantError, OSError) as error:
                failure = as_pliant_error(error)
                console.error(failure, "standard input" if job.source == STREAM else job.source)
                codes.append(failure.exit_code)
    if not codes:
        return 0
    return codes[0] if len(jobs) == 1 else PliantError.exit_code


class _EndOfRun(Exception):
    """What every further input would fail of as well."""

    def __init__(self, reason: PliantError) -> None:
        super().__init__(reason)
        self.reason = reason


@contextlib.contextmanager
def for_all_inputs() -> Iterator[None]:
    """What fails inside would fail for every further input too, so it ends the run."""
    try:
        yield
    except PliantError as error:
        raise _EndOfRun(error) from error


def as_pliant_error(error: PliantError | OSError) -> PliantError:
    """Return the error with an exit code: an OSError here is an input that cannot be read."""
    if isinstance(error, PliantError):
        return error
    return DamagedError(f"cannot be read: {error.strerror or error}")


def report(
    console: Console,
    job: Job,
    data: bytes,
    *,
    quality: float | None = None,
    notes: Sequence[str] = (),
    seconds: float,
) -> None:
    """Tell about one finished file; data is the .pli file, quality the one that was asked for."""
    facts = info(data)
    record = {
        "input": job.source,
        "output": job.target,
        "bytes": len(data),
        "bpp": facts["bpp"],
        "width": facts["width"],
        "height": facts["height"],
        "quality": facts["quality"] if quality is None else quality,
        "model": facts["model"],
        "seconds": seconds,
        "notes": list(notes),
    }
    for note in notes:
        console.note(f"{job.source}: {note}")
    console.result(
        record,
        f"{job.source} → {job.target}: {facts['width']} × {facts['height']},"
        f" {len(data)} bytes, {facts['bpp']:.3f} bpp, {seconds:.2f} s",
    )


def read_bytes(source: str) -> bytes:
    """Return the content of a file or of stdin. Raises OSError."""
    with _opened(source) as stream:
        return stream.read()


def read_pliant(source: str) -> bytes:
    """Return the content of a .pli file or of stdin, see `contents`. Raises OSError."""
    with _opened(source) as stream:
        return contents(stream)


@contextlib.contextmanager
def _opened(source: str) -> Iterator[IO[bytes]]:
    if source == STREAM:
        yield sys.stdin.buffer
    else:
        with open(source, "rb") as stream:
            yield stream


def write_stdout(data: bytes) -> None:
    """Write to stdout; raises what `standard_output` does."""
    with standard_output() as stream:
        stream.buffer.write(data)


def _target(
    source: str, output: str | None, folder: str | None, rename: Callable[[str], str]
) -> str:
    if folder is not None:
        name = rename("stdin" if source == STREAM else source)
        return os.path.join(folder, os.path.basename(name))
    if output is not None:
        return output
    return STREAM if source == STREAM else rename(source)


def _check_jobs(jobs: Sequence[Job], console: Console) -> None:
    sources = {os.path.realpath(job.source) for job in jobs if job.source != STREAM}
    seen: dict[str, str] = {}
    for source, target in jobs:
        place = os.path.realpath(target)
        if target == STREAM:
            if console.json:
                raise UsageError("the image and --json cannot both go to standard output")
            if sys.stdout.isatty():
                raise UsageError("image data is not written to a terminal; name a file with -o")
        elif place in seen:
            raise UsageError(f"{seen[place]} and {source} would both be written to {target}")
        elif place in sources:
            raise UsageError(f"{target} cannot be both input and output")
        seen[place] = source


@contextlib.contextmanager
def _pixel_limit(max_pixels: int | None) -> Iterator[None]:
    """Put an explicit limit in force for every layer below, where it is larger Pillow's too."""
    if max_pixels is None:
        yield
        return
    from PIL import Image

    before, pillow = os.environ.get("PLIANT_MAX_PIXELS"), Image.MAX_IMAGE_PIXELS
    os.environ["PLIANT_MAX_PIXELS"] = str(max_pixels)
    if pillow is not None:  # it may allow more: ours is the limit that is told about
        Image.MAX_IMAGE_PIXELS = max(pillow, max_pixels)
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = pillow
        if before is None:
            del os.environ["PLIANT_MAX_PIXELS"]
        else:
            os.environ["PLIANT_MAX_PIXELS"] = before
