"""What a measurement depends on beside the code: the machine, versions, the command line."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("pliant", "torch", "numpy", "numba", "pillow")


def describe() -> dict[str, str]:
    """Processor, cores, system and versions, in words for a reader."""
    return {
        "processor": processor(),
        "cores": str(os.cpu_count() or 1),
        "system": platform.platform(terse=True),
        "software": ", ".join([f"Python {platform.python_version()}", *_versions()]),
    }


def command() -> str:
    """The command line of this process, the program without its folder."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def processor() -> str:
    """The name of the processor, or of its kind where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> list[str]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
