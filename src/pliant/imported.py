"""Models that the user imported: where their weights lie and what is known of each (no torch).

The model NAME is the file NAME.json in the folder, an object with the fields of `Record`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

VARIABLE: Final = "PLIANT_MODELS"
_HASH: Final = re.compile("[0-9a-f]{64}")


class Record(NamedTuple):
    """One imported model.

    system: its architecture, a key of `models.registry.ARCHITECTURES`. config: arguments of that,
    besides those that the architecture has.
    file: of the weights, in the same folder. sha256: of that file.
    """

    system: str
    config: dict[str, Any]
    file: str
    sha256: str


def folder() -> Path:
    """Return $PLIANT_MODELS, else pliant/models in $XDG_DATA_HOME (~/.local/share)."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    # expanduser never fails: a process without a home still reads files
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "pliant" / "models"


def records(place: Path | None = None) -> dict[str, Record]:
    """Return the models in the folder by name; files that are no valid records are no models."""
    found = {}
    with contextlib.suppress(OSError):  # there is no such folder
        for path in sorted((place or folder()).glob("*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                found[path.stem] = _checked(json.loads(path.read_bytes()))
    return found


def _checked(content: Any) -> Record:
    """Return the record in a parsed file; raises the errors that `records` expects."""
    record = Record(**content)
    if not all(isinstance(number, int) for number in record.config.values()):
        raise TypeError("config")
    if os.path.basename(record.file) != record.file or not _HASH.fullmatch(record.sha256):
        raise ValueError("file or hash")
    return record
