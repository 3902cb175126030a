"""The folder of imported models and its records, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pliant import imported

GOOD: dict[str, Any] = {
    "system": "factorized",
    "config": {"width": 6, "channels": 10, "rectified": True},
    "file": "mine-01234567.safetensors",
    "sha256": "01234567" * 8,
}


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIANT_MODELS", str(tmp_path / "chosen"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert imported.folder() == tmp_path / "chosen"
    monkeypatch.delenv("PLIANT_MODELS")
    assert imported.folder() == tmp_path / "data" / "pliant" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert imported.folder() == tmp_path / ".local" / "share" / "pliant" / "models"


def test_records_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIANT_MODELS", str(tmp_path))
    assert imported.records() == {}
    (tmp_path / "mine.v2.json").write_text(json.dumps(GOOD))
    assert imported.records() == {"mine.v2": imported.Record(**GOOD)}
    assert imported.records(tmp_path / "nothing") == {}


@pytest.mark.parametrize(
    "content",
    [
        {**GOOD, "file": "../mine"},
        {**GOOD, "file": 3},
        {**GOOD, "sha256": "0"},
        {**GOOD, "sha256": None},
        {**GOOD, "config": [1]},
        {**GOOD, "config": {"width": "6"}},
        {**GOOD, "more": 1},
        {"system": "factorized"},
        [GOOD],
        None,
    ],
)
def test_other_content_is_no_record(content: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(json.dumps(content))
    (tmp_path / "cut.json").write_text(json.dumps(GOOD)[:-3])
    (tmp_path / "folder.json").mkdir()
    assert imported.records(tmp_path) == {}
