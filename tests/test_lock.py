"""One run per folder; a killed process leaves no lock behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pliant.errors import UsageError
from pliant.evaluation.lock import LOCK, locked

HOLD = """
import sys
from pathlib import Path
from pliant.evaluation.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with (
        locked(folder),
        pytest.raises(UsageError, match=rf"process {os.getpid()}\b"),
        locked(folder),
    ):
        pass
    with locked(folder):
        assert (folder / LOCK).read_text() == f"{os.getpid()}\n"


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=rf"process {holder.pid}\b"), locked(tmp_path):
            pass
        holder.kill()
    assert (tmp_path / LOCK).read_text() == f"{holder.pid}\n"
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to"), locked(tmp_path / "file" / "folder"):
        pass
