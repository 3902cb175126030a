"""What a result says about where it was made."""

from __future__ import annotations

import platform

import pytest

from pliant import __version__
from pliant.evaluation import machine


def test_description_names_processor_and_versions() -> None:
    found = machine.describe()
    assert list(found) == ["processor", "cores", "system", "software"]
    assert int(found["cores"]) >= 1
    assert f"Python {platform.python_version()}, pliant {__version__}, " in found["software"]


def test_command_hides_the_folder_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/pliant", "eval", "my photos"])
    assert machine.command() == "pliant eval 'my photos'"
