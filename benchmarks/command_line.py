"""Pliant's command line in fresh processes, as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import read_rgb


def call(*arguments: str) -> None:
    """Runs `pliant ARGUMENTS`.

    Raises:
        subprocess.CalledProcessError: it did not return zero.
    """
    subprocess.run([sys.executable, "-m", "pliant", *arguments], check=True, capture_output=True)


def decode(file: Path, output: Path) -> Pixels:
    """Decodes `file` to `output` in a process of its own and returns the pixels of `output`."""
    call("decode", str(file), "-o", str(output), "--force")
    return read_rgb(output)
