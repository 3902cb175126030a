"""Records in files: a journal that survives being killed, and CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pliant.errors import DamagedError, PliantError
from pliant.files import output_file

Record = TypeVar("Record")


def load(path: Path, make: Callable[..., Record]) -> list[Record]:
    """The records of a journal, in the order in which they were added; none if it is not there.

    A last line that was cut off in the middle is removed from the file.

    Args:
        make: takes the values of a line by name; raises TypeError or ValueError for a foreign one.

    Raises:
        DamagedError: a line holds something else than a record.
    """
    if not path.exists():
        return []
    whole = path.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    if len(kept) < len(whole):  # killed while it wrote
        os.truncate(path, len(kept))
    found = []
    for number, line in enumerate(kept.splitlines(), 1):
        try:
            found.append(make(**json.loads(line)))
        except (ValueError, TypeError) as error:
            what = "is not a line of this version's tables"
            raise DamagedError(f"{path}, line {number} {what}") from error
    return found


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a line, safe on disk when this returns; makes the folder when it is not there.

    Raises:
        PliantError: the file system refuses it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PliantError(f"cannot write {path}: {error.strerror or error}") from error


def write_csv(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes a table with a column for every name that some record has."""
    entries = list(records)
    names = list(dict.fromkeys(name for entry in entries for name in entry))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    with output_file(path, force=True) as file:
        # names of files may hold bytes that are no text
        file.write(text.getvalue().encode(errors="backslashreplace"))
