"""What the command line refuses: exit codes, one sentence each, and nothing half-written."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_codec
import pytest
from cli_files import photo
from PIL import Image

from pliant.cli.main import main
from pliant.container import read, write
from pliant.errors import MissingError, UsageError
from pliant.header import MAX_SIDE, Header, read_header, write_header

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
        ["train", "pyramid", ".", "--output", "a.png/run"],
        ["info", "-", "-"],
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


def test_an_unknown_model_ends_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(name: str) -> fake_codec.Codec:
        raise UsageError(f"there is no model {name}")

    monkeypatch.setattr(sys.modules["pliant.codec"], "load", unknown)
    photo("a.png")
    photo("b.png")
    assert main(["encode", "a.png", "b.png", "--model", "other"]) == 2
    assert capsys.readouterr().err == "pliant: error: there is no model other\n"


def test_a_file_of_a_missing_model_does_not_keep_others_from_being_decoded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo("a.png")
    main(["encode", "a.png"])
    whole = Path("a.pli").read_bytes()
    content = read(whole)
    other = replace(content, header=replace(content.header, model_id=b"gone"))
    Path("0.pli").write_bytes(write(other))

    def model_for(data: bytes) -> fake_codec.Codec:
        if read_header(data).model_id == b"gone":
            raise MissingError("the file needs another model")
        return fake_codec.Codec()

    monkeypatch.setattr(sys.modules["pliant.codec"], "model_for", model_for)
    assert main(["decode", "0.pli", "a.pli", "-o", "out"]) == 1
    assert os.listdir("out") == ["a.png"]
    assert "error: 0.pli: the file needs another model" in capsys.readouterr().err
    assert main(["decode", "0.pli"]) == 5


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


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory.")])
def test_out_of_memory_beside_the_inputs_is_4_too(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("pliant.training.loop.main", exhausted)
    assert main(["train", "pyramid", "photos"]) == 4
    assert capsys.readouterr().err == "pliant: error: there is not enough memory for this\n"


def test_a_package_that_cannot_be_loaded_is_5(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ImportError("libgomp.so.1:\ncannot open shared object file")

    monkeypatch.setattr("pliant.training.loop.main", broken)
    assert main(["train", "pyramid", "photos"]) == 5
    said = capsys.readouterr().err
    assert said.startswith("pliant: error: a package that this needs cannot be loaded: ")
    assert said.count("\n") == 1


def test_ours_is_the_pixel_limit_that_is_told_about(capsys: pytest.CaptureFixture[str]) -> None:
    photo("a.png", (90, 70))
    assert main(["encode", "a.png", "--max-pixels", "1k"]) == 4
    assert "90 by 70 pixels is above the limit of 1000 pixels" in capsys.readouterr().err


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
