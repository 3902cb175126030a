"""What the command line refuses: exit codes, one sentence each, and nothing half-written."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import fake_codec
import pytest
from cli_files import photo
from PIL import Image

from pliant.cli.main import main
from pliant.header import MAX_SIDE, Header, write_header

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["encode"],
        ["encode", "a.png", "-q", "101"],
        ["encode", "a.png", "-q", "nan"],
        ["encode", "a.png", "-q", "50", "--bpp", "1"],
        ["encode", "a.png", "--bpp", "0"],
        ["encode", "a.png", "--size", "12q"],
        ["encode", "a.png", "--psnr", "inf"],
        ["encode", "a.png", "--qual", "50"],
        ["encode", "-", "-"],
        ["encode", "a.png", "sub/a.png", "-o", "out"],
        ["encode", "a.png", "a.jpg"],
        ["encode", "a.png", "./a.png", "--force"],
        ["encode", "a.png", "-o", "none/a.pli"],
        ["decode", "a.png", "-o", "none/a.jpg"],
        ["decode", "a.png", "a", "--force"],
        ["compare", "a.png", "-o", "none/b.png"],
        ["import", "a.png", "--name", "a", "-o", "a.png/models"],
        ["train", "default", ".", "--output", "a.png/run"],
        ["eval", ".", "--codec", "jpeg", "-o", "a.png/run"],
        ["encode", "a.png", "b.png", "-o", "a.png"],
        ["encode", "a.png", "-o", "a.png"],
        ["encode", "a.png", "-o", "a.png", "--force"],
        ["decode", "a.pli", "-o", "b.xyz"],
        ["decode", "a.pli", "--format", "xyz"],
        ["models", "frob"],
        ["train", "r", "d", "--set", "steps"],
    ],
)
def test_wrong_usage_is_2_and_writes_nothing(arguments: list[str]) -> None:
    photo("a.png")
    before = Path("a.png").read_bytes(), sorted(os.listdir())
    assert main(arguments) == 2
    assert (Path("a.png").read_bytes(), sorted(os.listdir())) == before


def test_a_size_that_cannot_be_met_is_4(capsys: pytest.CaptureFixture[str]) -> None:
    photo("a.png")
    assert main(["encode", "a.png", "--size", "20"]) == 4
    assert "smallest possible" in capsys.readouterr().err
    assert not Path("a.pli").exists()


def test_missing_weights_are_5_and_end_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    photo("a.png")
    photo("b.png")
    assert main(["encode", "a.png", "b.png", "--model", "other"]) == 5
    assert capsys.readouterr().err.count("error") == 1


def test_existing_targets_are_kept_without_force() -> None:
    photo("a.png")
    Path("a.pli").write_bytes(b"old")
    assert main(["encode", "a.png"]) == 2
    assert Path("a.pli").read_bytes() == b"old"
    assert main(["encode", "a.png", "--force"]) == 0
    assert main(["decode", "a.pli"]) == 2


def test_damaged_files_are_3_and_leave_nothing() -> None:
    photo("a.png")
    main(["encode", "a.png"])
    data = Path("a.pli").read_bytes()
    for number, damaged in enumerate((b"", data[:-1], data[:20], data + b"x", b"\x89PNG")):
        Path("bad.pli").write_bytes(damaged)
        assert main(["decode", "bad.pli", "-o", f"{number}.png"]) == 3
        assert not Path(f"{number}.png").exists()
    assert main(["decode", "missing.pli"]) == 3


def test_header_bombs_are_4_before_the_codec_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("bomb.pli").write_bytes(write_header(Header(MAX_SIDE, MAX_SIDE, "RGB", b"fake", 1)))
    # undone before the fixture takes its codec away, or the codec would come back for other tests
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pliant.codec", None)
        started = time.perf_counter()
        assert main(["decode", "bomb.pli"]) == 4
        assert time.perf_counter() - started < 0.5


def test_max_pixels_by_option_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    photo("a.png")
    before = Image.MAX_IMAGE_PIXELS
    assert main(["encode", "a.png", "--max-pixels", "62"]) == 4
    assert main(["encode", "a.png", "--max-pixels", "63"]) == 0
    assert main(["decode", "a.pli", "--force", "--max-pixels", "62"]) == 4
    assert before == Image.MAX_IMAGE_PIXELS
    assert "PLIANT_MAX_PIXELS" not in os.environ
    monkeypatch.setenv("PLIANT_MAX_PIXELS", "62")
    assert main(["decode", "a.pli", "--force"]) == 4
    assert main(["decode", "a.pli", "--force", "--max-pixels", "1k"]) == 0
    assert os.environ["PLIANT_MAX_PIXELS"] == "62"


def test_out_of_memory_is_4(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any, **__: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(fake_codec.Codec, "encode", exhausted)
    photo("a.png")
    assert main(["encode", "a.png"]) == 4


def test_a_refusal_that_no_command_expects_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "/cache/photo.npy")

    monkeypatch.setattr("pliant.training.loop.main", refused)
    assert main(["train", "default", "photos"]) == 1
    assert capsys.readouterr().err == "pliant: error: /cache/photo.npy: Permission denied\n"


@pytest.mark.parametrize(
    "arguments", [["encode", ""], ["decode", ""], ["info", ""], ["encode", "a.png", "-o", ""]]
)
def test_an_empty_name_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "a file name is empty" in capsys.readouterr().err
