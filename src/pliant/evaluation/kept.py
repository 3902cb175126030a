"""The encoded files that a run keeps in its folder, read back for crops and distances."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pliant.errors import PliantError
from pliant.evaluation import codecs
from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.pixels import Pixels
from pliant.evaluation.table import Row


def has_file(folder: Path, row: Row) -> bool:
    """Whether the row's file is there, with the bytes that the row counts."""
    path = folder / row.file
    return path.is_file() and path.stat().st_size == row.bytes


def decode(folder: Path, row: Row) -> Pixels:
    """The picture in the row's file.

    Raises:
        PliantError: the file is not there, or not what it was.
    """
    if not has_file(folder, row):
        raise PliantError(f"the kept file of {row.image} at {row.quality:g} is not there")
    return _codec(row.codec).decode((folder / row.file).read_bytes())


@cache
def _codec(name: str) -> ImageCodec:
    return codecs.find(name, separate_decoder=False)
