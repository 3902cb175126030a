"""Journals lose nothing that was finished, and say which line is foreign."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from pliant.errors import DamagedError, PliantError
from pliant.evaluation import journal


@dataclass(frozen=True)
class Point:
    """What the journals here hold."""

    x: int
    y: str = "é"


def written(path: Path) -> list[Point]:
    points = [Point(1), Point(2, "two\n")]
    for point in points:
        journal.append(path, asdict(point))
    return points


def test_records_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal"
    assert journal.load(path, Point) == []
    points = written(path)
    assert journal.load(path, Point) == points


def test_names_that_are_no_text(tmp_path: Path) -> None:
    point = Point(1, "\udcff.png")
    journal.append(tmp_path / "journal", asdict(point))
    assert journal.load(tmp_path / "journal", Point) == [point]
    journal.write_csv(tmp_path / "csv", [asdict(point)])
    assert (tmp_path / "csv").read_bytes() == b"x,y\n1,\\udcff.png\n"


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_last_line_is_removed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    first, second = written(path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert journal.load(path, Point) == [first]
    journal.append(path, asdict(second))
    assert journal.load(path, Point) == [first, second]


@pytest.mark.parametrize("line", ["no JSON", "[1, 2]", "{}", '{"x": 1, "z": 1}', "17"])
def test_foreign_lines_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal"
    written(path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DamagedError, match="line 3"):
        journal.load(path, Point)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PliantError, match="cannot write"):
        journal.append(tmp_path / "file" / "journal", {})


def test_csv_has_a_column_for_every_name(tmp_path: Path) -> None:
    journal.write_csv(tmp_path / "table.csv", [{"a": 1}, {"b": "x, y", "a": 2}])
    with (tmp_path / "table.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": ""}, {"a": "2", "b": "x, y"}]
