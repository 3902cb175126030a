"""The tidy table of an evaluation: one row per codec, image and quality, in a folder on disk.

Rows are appended to a journal the moment they are finished, so a run that is killed goes on where
it was; a line that was cut off in the middle is dropped. `write_csv` gives the same rows in a fixed
order for spreadsheets and data frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from pliant.evaluation import journal

JOURNAL, CSV = "rows.jsonl", "rows.csv"

Key: TypeAlias = tuple[str, str, str, float]


@dataclass(frozen=True)
class Row:
    """One image through one codec at one quality.

    Attributes:
        codec: its name with all settings, as `codecs.find` takes it.
        version: of the library or weights that did the work.
        image: file name.
        digest: of the image's pixels.
        bytes: of the file; bpp: its bits per pixel.
        metrics: by name, psnr and ms_ssim among them.
        undefined: names of metrics that were asked for and are not defined for the image (MS-SSIM
            of a tiny one).
        encode_seconds, decode_seconds: wall time, of one thread, beside `workers` - 1 others.
        peak_memory: of the process that encoded, in MiB; 0 where it cannot be told.
        workers: how many processes worked side by side.
        file: the encoded file, relative to the folder of the table; empty where it was not kept.
    """

    codec: str
    version: str
    image: str
    digest: str
    quality: float
    width: int
    height: int
    bytes: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    undefined: tuple[str, ...] = ()
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    peak_memory: float = 0.0
    workers: int = 1
    file: str = ""

    @property
    def bpp(self) -> float:
        """Bits of the file per pixel."""
        return 8 * self.bytes / (self.width * self.height)

    @property
    def psnr(self) -> float:
        """Over RGB, in dB."""
        return self.metrics["psnr"]

    @property
    def ms_ssim(self) -> float:
        """0..1; NaN where it is not defined."""
        return self.metrics.get("ms_ssim", float("nan"))

    @property
    def key(self) -> Key:
        """What identifies the row: finding it in the table saves computing it."""
        return self.codec, self.version, self.digest, self.quality


class Table:
    """The rows in a folder; opening it reads what an earlier run finished.

    A key that was added again counts with its last row.

    Args:
        folder: made when the first row is added.

    Raises:
        DamagedError: the journal holds something else than rows.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[Key, Row] = {}
        self._owners: dict[str, Key] = {}
        for row in journal.load(folder / JOURNAL, _row):
            self._set(row)

    def add(self, row: Row) -> None:
        """Appends a finished row, safe on disk when this returns.

        Raises:
            PliantError: the file system refuses it.
        """
        journal.append(self.folder / JOURNAL, asdict(row))
        self._set(row)

    def write_csv(self, rows: Iterable[Row]) -> None:
        """Writes `rows` in the given order, one column per field and metric."""
        journal.write_csv(self.folder / CSV, map(_flat, rows))

    def _set(self, row: Row) -> None:
        """Files have one owner: an older version's row no longer has what a newer one replaced."""
        if row.file:
            before = self._owners.get(row.file, row.key)
            if before != row.key:
                self.rows[before] = replace(self.rows[before], file="")
            self._owners[row.file] = row.key
        self.rows[row.key] = row


def _row(**values: Any) -> Row:
    row = Row(**values)
    return replace(row, undefined=tuple(row.undefined))  # JSON knows lists only


def _flat(row: Row) -> dict[str, Any]:
    entry = {**asdict(row), "bpp": row.bpp, **row.metrics}
    del entry["metrics"], entry["undefined"]
    return entry
