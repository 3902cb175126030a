"""Result files, and what a result depends on beside the code: machine, versions, commit."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pliant.evaluation import machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
REPORTS = ROOT / "benchmarks" / "reports"


def cache(data: Path) -> Path:
    """The run folder that keeps what was measured on a folder of images."""
    return ROOT / ".cache" / "evaluation" / data.resolve().name


def describe() -> dict[str, str | int]:
    """Machine, versions, commit and the command line, for the head of a result file."""
    return {
        "command": f"python benchmarks/{machine.command()}",
        "commit": _commit(),
        "cpu": machine.processor(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "numba", "pillow")},
    }


def write(path: Path, result: dict[str, Any]) -> None:
    """Writes `result` below the description of this machine, lists of numbers on one line."""
    text = json.dumps({"environment": describe(), **result}, indent=1)
    text = re.sub(r"\[[-+.\de,\s]+\]", lambda found: re.sub(r"\s+", "", found[0]), text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
