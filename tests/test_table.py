"""The table of an evaluation on disk: journal, torn lines, ownership of files, CSV."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pliant.errors import DamagedError, PliantError
from pliant.evaluation.table import CSV, JOURNAL, Row, Table

ROW = Row(
    codec="avif@speed=4",
    version="library 1",
    image="a.png",
    digest="00ff",
    quality=12.5,
    width=40,
    height=20,
    bytes=150,
    metrics={"psnr": 31.25},
    undefined=("ms_ssim",),
    encode_seconds=0.5,
    file="files/avif@speed=4/a@12.5.avif",
)


def test_derived_values() -> None:
    assert ROW.bpp == 1.5
    assert ROW.psnr == 31.25
    assert math.isnan(ROW.ms_ssim)


def test_rows_come_back(tmp_path: Path) -> None:
    lossless = replace(ROW, quality=100.0, metrics={"psnr": math.inf}, undefined=(), file="")
    table = Table(tmp_path / "new" / "folder")
    for row in (ROW, lossless):
        table.add(row)
    assert Table(tmp_path / "new" / "folder").rows == {row.key: row for row in (ROW, lossless)}


def test_a_key_counts_with_its_last_row(tmp_path: Path) -> None:
    better = replace(ROW, metrics={"psnr": 31.25, "lpips": 0.1})
    for row in (ROW, replace(ROW, image="b.png", digest="1"), better):
        Table(tmp_path).add(row)
    assert Table(tmp_path).rows[ROW.key] == better
    assert len(Table(tmp_path).rows) == 2


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_torn_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    other = replace(ROW, quality=13.0, file="")
    for row in (ROW, other):
        Table(tmp_path).add(row)
    journal = tmp_path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-cut])
    table = Table(tmp_path)
    assert list(table.rows.values()) == [ROW]
    table.add(other)
    assert list(Table(tmp_path).rows.values()) == [ROW, other]


@pytest.mark.parametrize("line", ["no JSON", "[1, 2]", '{"codec": "x"}', '{"colour": 1}', "17"])
def test_foreign_lines_are_named(tmp_path: Path, line: str) -> None:
    Table(tmp_path).add(ROW)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DamagedError, match="line 2"):
        Table(tmp_path)


def test_a_file_belongs_to_who_wrote_it_last(tmp_path: Path) -> None:
    newer = replace(ROW, version="library 2")
    table = Table(tmp_path)
    for row in (ROW, newer):
        table.add(row)
    for rows in (table.rows, Table(tmp_path).rows):
        assert rows[ROW.key] == replace(ROW, file="")
        assert rows[newer.key] == newer


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PliantError, match="cannot write"):
        Table(tmp_path / "file").add(ROW)


def test_csv_has_one_column_per_field_and_metric(tmp_path: Path) -> None:
    second = replace(ROW, quality=1.0, metrics={"psnr": 20.0, "lpips": 0.5}, undefined=())
    Table(tmp_path).write_csv([second, ROW])
    with (tmp_path / CSV).open(newline="") as file:
        first, last = csv.DictReader(file)
    assert [first["quality"], last["quality"]] == ["1.0", "12.5"]
    assert (first["lpips"], last["lpips"]) == ("0.5", "")
    assert (last["psnr"], last["bpp"], last["bytes"]) == ("31.25", "1.5", "150")
    assert set(first) == {
        *(name for name in vars(ROW) if name not in ("metrics", "undefined")),
        *("bpp", "psnr", "lpips"),
    }
