"""One exception class per exit code; every error that a user may see is one of these."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

_MEMORY_IS_LACKING: Final = ("DefaultCPUAllocator", "out of memory")


class PliantError(Exception):
    """Base of all errors that Pliant raises on purpose; the message is one clear sentence."""

    exit_code: int = 1


class OutputError(PliantError):
    """Standard output cannot be written, so nothing more can be said there."""


class UsageError(PliantError):
    """The request makes no sense: unknown option, contradictory targets, unsupported input."""

    exit_code = 2


class DamagedError(PliantError):
    """A file is damaged, truncated, of a newer version or not a Pliant file at all."""

    exit_code = 3


class LimitError(PliantError):
    """A limit (pixels, memory, work) is exceeded or a target (size, PSNR) cannot be met."""

    exit_code = 4


class MissingError(PliantError):
    """Weights or an optional package are missing or are not the ones that were asked for."""

    exit_code = 5


def reason_of(error: BaseException) -> str:
    """Return on one line what an exception says, with the file that it is about."""
    said = str(error)
    if isinstance(error, OSError) and error.strerror:
        said = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return " ".join(said.split()) or "no reason is given"


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Raise LimitError where memory is lacking inside, which torch says with a RuntimeError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(
            words in str(error) for words in _MEMORY_IS_LACKING
        ):
            raise
        raise LimitError("there is not enough memory for this") from error
