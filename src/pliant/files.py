"""Output files that are either complete or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pliant.errors import PliantError, UsageError

_TEMPORARY = ".pliant-{}.tmp"


@contextlib.contextmanager
def output_file(
    target: str | os.PathLike[str],
    *,
    force: bool = False,
    source: str | os.PathLike[str] | None = None,
) -> Iterator[IO[bytes]]:
    """Open a temporary file beside the target; on success it takes the target's place.

    force: an existing file may be replaced (its permissions are kept). source: the input of the
    job, refused as target. On any error, an interrupt included, the temporary file is removed
    and the target stays what it was. Devices and pipes are written directly.
    Raises UsageError for a target that must not be written, PliantError with one sentence when
    the file system refuses (disk full, no permission).
    """
    check_target(target, force=force, source=source)
    # A link stays a link: its file is replaced.
    path = os.path.realpath(target)
    try:
        if os.path.exists(target) and not os.path.isfile(target):
            with open(target, "wb") as stream:  # /dev/stdout leads to no path where it is a pipe
                yield stream
            return
        with _temporary(path) as stream:
            yield stream
            if not force and os.path.exists(path):
                raise UsageError(_exists(target))
    except OSError as error:
        if error.errno is None or error.errno == errno.EPIPE:
            raise
        reason = error.strerror or str(error)
        raise PliantError(f"cannot write {os.fspath(target)}: {reason}") from error


def check_target(
    target: str | os.PathLike[str],
    *,
    force: bool = False,
    source: str | os.PathLike[str] | None = None,
) -> None:
    """Raise UsageError when the target cannot be written, as far as can be told beforehand.

    It is a folder, the source, exists without ``force``, or its folder is missing or not writable.
    A folder in which the source should be too is no matter of the target's: the source is missing.
    Meant to be called before long work; ``output_file`` calls it again.
    """
    if os.path.isdir(target):
        raise UsageError(f"{os.fspath(target)} is a folder")
    if source is not None and _same(source, target):
        raise UsageError(f"input and output are the same file: {os.fspath(target)}")
    if not force and os.path.isfile(target):
        raise UsageError(_exists(target))
    if os.path.exists(target) and not os.path.isfile(target):
        return  # a device or a pipe is written where it is
    folder = os.path.dirname(os.path.realpath(target))
    beside = source is not None and os.path.dirname(source) == os.path.dirname(target)
    if os.path.isdir(folder) or not beside:
        _check_writable(folder, target)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raise UsageError when a folder for output cannot be made or written to, without making it.

    Meant to be called before long work.
    """
    path = Path(os.path.realpath(folder))
    first = next((place for place in (path, *path.parents) if os.path.lexists(place)), path)
    _check_writable(str(first), folder)


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Make a folder for output, if it is not there. Raises UsageError when that cannot be."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        name = os.fspath(folder)
        raise UsageError(f"cannot make the folder {name}: {error.strerror}") from None


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left below a folder in which nobody writes now."""
    for path in folder.rglob(_TEMPORARY.format("*")):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _temporary(path: str) -> Iterator[IO[bytes]]:
    """Yield a new file beside ``path``; flush it to disk and rename it on success."""
    # A short name of its own: the target's may already be as long as a name can be.
    temporary = os.path.join(os.path.dirname(path), _TEMPORARY.format(os.urandom(8).hex()))
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if os.path.exists(path):
            os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _check_writable(folder: str, target: str | os.PathLike[str]) -> None:
    if not os.path.lexists(folder):
        reason = f"there is no folder {folder}"
    elif not os.path.isdir(folder):
        reason = f"{folder} is not a folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        reason = f"the folder {folder} is not writable"
    else:
        return
    raise UsageError(f"cannot write {os.fspath(target)}: {reason}")


def _same(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(source, target)
    except OSError:
        return False


def _exists(target: str | os.PathLike[str]) -> str:
    return f"{os.fspath(target)} exists already; use --force to replace it"
