"""One run per folder: a lock that the operating system takes away from a dead process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from pliant.errors import UsageError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
# Windows locks bytes, and nobody can read a locked one: lock one that lies behind the text.
_BEHIND = 1024


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process; makes the folder when it is not there.

    The process id stands in the file, which stays behind. What a killed process leaves is free.

    Raises:
        UsageError: another process holds it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+b")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror or error}") from error
    with file:
        try:
            _take(file.fileno())
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "unknown"
            raise UsageError(f"another run (process {holder}) is at work in {folder}") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
            _release(file.fileno())


def _take(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _BEHIND, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _release(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _BEHIND, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
