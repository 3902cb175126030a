"""The command line with a lossless stand-in codec: names, streams, JSON, exit codes, failures."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_codec
import numpy as np
import pytest
from PIL import Image

from pliant.cli.main import main
from pliant.container import Header, read
from pliant.header import MAX_SIDE, write_header
from pliant.rate import to_quality

FAKE = [sys.executable, fake_codec.__file__]
KEYS = {"input", "output", "bytes", "bpp", "width", "height", "quality", "model", "seconds"}


@pytest.fixture(autouse=True)
def codec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The stand-in codec and a working folder in which no temporary file may stay behind."""
    monkeypatch.chdir(tmp_path)
    with fake_codec.installed():
        yield
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"]


def photo(path: str, size: tuple[int, int] = (9, 7), mode: str = "RGB") -> np.ndarray:
    image = Image.effect_noise(size, 90).convert(mode)
    image.save(path)
    return np.asarray(image)


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_round_trip_with_default_names(capsys: pytest.CaptureFixture[str]) -> None:
    original = photo("a.b.png")
    assert main(["encode", "a.b.png"]) == 0
    os.rename("a.b.png", "original.png")
    assert main(["decode", "a.b.pli"]) == 0
    assert np.array_equal(pixels("a.b.png"), original)
    out, err = capsys.readouterr()
    assert out == ""
    assert "a.b.png → a.b.pli: 9 × 7" in err


@pytest.mark.parametrize(
    ("source", "target"),
    [("photo.jpeg", "photo.pli"), ("IMG.2024", "IMG.2024.pli"), (".png", ".png.pli")],
)
def test_default_names(source: str, target: str) -> None:
    photo("x.png")
    os.rename("x.png", source)
    assert main(["encode", source]) == 0
    assert Path(target).exists()


@pytest.mark.parametrize("name", ["-photo.png", "--", "-q", "фото 写真 ü.png", "a b\tc.png"])
def test_dash_and_utf8_names(name: str) -> None:
    photo("x.png")
    os.rename("x.png", name)
    assert main(["encode", "--quiet", "-o", "x.pli", "--", name]) == 0
    assert main(["encode", "--quiet", "--", name]) == 0
    assert main(["decode", "x.pli", "--output=-y.png"]) == 0
    assert Path("-y.png").exists()


def test_json_records(capsys: pytest.CaptureFixture[str]) -> None:
    photo("a.png")
    photo("b.png", (3, 4), "1")
    assert main(["encode", "--json", "a.png", "b.png", "-q", "70"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert set(first) == KEYS | {"notes"}
    size = os.path.getsize("a.pli")
    assert (first["input"], first["output"], first["bytes"]) == ("a.png", "a.pli", size)
    assert first["bpp"] == pytest.approx(8 * size / 63)
    assert (first["width"], first["height"], first["quality"]) == (9, 7, 70)
    assert (first["model"], first["notes"]) == ("fake", [])
    assert len(second["notes"]) == 1
    assert main(["decode", "--json", "--force", "a.pli"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record) == KEYS | {"notes"}
    assert (record["output"], record["bytes"]) == ("a.png", size)


def test_json_errors(capsys: pytest.CaptureFixture[str]) -> None:
    photo("a.png")
    Path("bad.png").write_text("no image")
    assert main(["encode", "--json", "missing.png", "a.png", "bad.png"]) == 1
    out, err = capsys.readouterr()
    missing, good, bad = (json.loads(line) for line in out.splitlines())
    assert missing["error"]["exit_code"] == bad["error"]["exit_code"] == 3
    assert set(bad["error"]) == {"type", "message", "exit_code"}
    assert (bad["input"], bad["error"]["type"]) == ("bad.png", "DamagedError")
    assert good["output"] == "a.pli"
    assert "error: missing.png: cannot be read: No such file" in err
    assert main(["encode", "--json", "a.png", "b.png", "-o", "-"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "UsageError"


def test_quiet_prints_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    photo("a.png", mode="1")
    assert main(["encode", "--quiet", "a.png"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["encode", "--quiet", "a.png"]) == 2
    assert "error: a.png: a.pli exists already" in capsys.readouterr().err


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


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["encode", "--help"]])
def test_help_and_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "pliant" in capsys.readouterr().out


def test_targets_reach_the_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    encode = fake_codec.Codec.encode

    def spy(self: fake_codec.Codec, source: Any, **goal: Any) -> bytes:
        seen.append(goal)
        return encode(self, source, **goal)

    monkeypatch.setattr(fake_codec.Codec, "encode", spy)
    photo("a.png")
    for options in ([], ["-q", "7.5"], ["--bpp", "0.5"], ["--size", "1.5M"], ["--psnr", "40"]):
        assert main(["encode", "a.png", "--force", *options]) == 0
    expected = [{"quality": 50}, {"quality": 7.5}, {"bpp": 0.5}, {"size": 1_500_000}, {"psnr": 40}]
    assert seen == expected


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


def test_output_folders() -> None:
    os.mkdir("sub")
    photo("a.png")
    photo("sub/b.png")
    assert main(["encode", "a.png", "sub/b.png", "-o", "out/deep"]) == 0
    assert sorted(os.listdir("out/deep")) == ["a.pli", "b.pli"]
    assert main(["encode", "a.png", "-o", "new/"]) == 0
    assert os.listdir("new") == ["a.pli"]
    assert main(["decode", "out/deep/a.pli", "out/deep/b.pli", "-o", "sub", "--format", "tif"]) == 0
    assert sorted(os.listdir("sub")) == ["a.tiff", "b.png", "b.tiff"]
    assert main(["decode", "new/a.pli", "-o", "sub"]) == 0
    assert np.array_equal(pixels("sub/a.png"), pixels("a.png"))


@pytest.mark.parametrize("form", ["png", "webp", "tiff", "ppm", "qoi"])
def test_formats_by_option_and_extension(form: str) -> None:
    original = photo("a.png")
    main(["encode", "a.png"])
    assert main(["decode", "a.pli", "-o", f"x.{form}"]) == 0
    assert main(["decode", "a.pli", "--format", form, "-o", "y"]) == 0
    assert np.array_equal(pixels(f"x.{form}"), original)
    assert np.array_equal(pixels("y"), original)


def test_transparency_needs_a_format_that_holds_it(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGBA", (4, 4), (9, 9, 9, 99)).save("a.png")
    main(["encode", "a.png"])
    assert main(["decode", "a.pli", "-o", "a.jpg"]) == 2
    assert "choose png" in capsys.readouterr().err
    assert not Path("a.jpg").exists()


def test_existing_targets_are_kept_without_force() -> None:
    photo("a.png")
    Path("a.pli").write_bytes(b"old")
    assert main(["encode", "a.png"]) == 2
    assert Path("a.pli").read_bytes() == b"old"
    assert main(["encode", "a.png", "--force"]) == 0
    assert main(["decode", "a.pli"]) == 2


def test_metadata_is_kept_or_dropped() -> None:
    exif = Image.Exif()
    exif[0x010E] = "text"
    Image.new("RGB", (4, 4)).save("a.jpg", exif=exif, xmp=b"<x/>", icc_profile=None)
    main(["encode", "a.jpg"])
    main(["encode", "a.jpg", "--no-metadata", "-o", "b.pli"])
    full, bare = (read(Path(name).read_bytes()) for name in ("a.pli", "b.pli"))
    assert full.exif is not None
    assert full.xmp == b"<x/>"
    assert (bare.exif, bare.xmp) == (None, None)


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    photo("a.png", mode="LA")
    main(["encode", "a.png"])
    capsys.readouterr()
    assert main(["info", "a.pli"]) == 0
    out = capsys.readouterr().out
    assert "9 × 7 LA" in out
    assert f"quality {to_quality(500):.1f}, rate parameter 500" in out
    assert main(["info", "--json", "a.pli", "a.png"]) == 1
    good, bad = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (good["input"], good["layout"], good["rate"]) == ("a.pli", "LA", 500)
    assert good["quality"] == to_quality(500)
    assert bad["error"]["message"] == "this is not a Pliant file"
    assert main(["info", "a.png"]) == 3


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


def test_full_disk_is_one_sentence_and_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    photo("a.png")
    monkeypatch.setattr(os, "fsync", full)
    assert main(["encode", "a.png"]) == 1
    assert "cannot write a.pli: No space left on device" in capsys.readouterr().err
    assert not Path("a.pli").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_full_stdout_is_1() -> None:
    photo("a.png")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*FAKE, "encode", "a.png", "-o", "-"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_streams() -> None:
    original = photo("a.png", (40, 30))
    png = Path("a.png").read_bytes()
    run = subprocess.run
    encoded = run([*FAKE, "encode", "-"], input=png, capture_output=True, check=True).stdout
    assert read(encoded).header.width == 40
    decoded = run([*FAKE, "decode", "-"], input=encoded, capture_output=True, check=True).stdout
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(decoded))), original)
    run([*FAKE, "encode", "-", "-o", "b.pli"], input=png, check=True, capture_output=True)
    assert Path("b.pli").read_bytes() == encoded
    info = run([*FAKE, "info", "--json", "-"], input=encoded, capture_output=True, check=True)
    assert json.loads(info.stdout)["width"] == 40


def test_streams_and_json_or_terminals_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    photo("a.png")
    assert main(["encode", "a.png", "-o", "-", "--json"]) == 2
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["encode", "a.png", "-o", "-"]) == 2


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    photo("a.png", (300, 300))
    command = [*FAKE, "encode", "a.png", "-o", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 1


def test_interrupt_is_130_and_leaves_nothing() -> None:
    photo("a.png")
    environment = {**os.environ, "FAKE_SECONDS": "20"}
    with subprocess.Popen(
        [*FAKE, "encode", "a.png"], env=environment, stderr=subprocess.PIPE
    ) as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 130
    assert os.listdir() == ["a.png"]


def test_interrupt_while_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    photo("a.png")
    Path("a.pli").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    assert main(["encode", "a.png", "--force"]) == 130
    assert Path("a.pli").read_bytes() == b"old"


def test_progress_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        photo(name)
    assert main(["encode", "a.png", "b.png"]) == 0
    assert "file/s" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["encode", "a.png", "b.png", "--force"]) == 0
    assert "2/2" in capsys.readouterr().err


def test_models(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    models = [{"name": "default", "id": "01020304"}]
    checks = [{"name": "default", "ok": True}, {"name": "old", "ok": False}]
    monkeypatch.setattr("pliant.models.registry.describe", lambda: models)
    monkeypatch.setattr("pliant.models.registry.verify", lambda: checks)
    assert main(["models"]) == 0
    assert capsys.readouterr().out == "default\n  id                       01020304\n"
    assert main(["models", "--json", "verify"]) == 5
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["ok"] for record in records] == [True, False]


def test_train_passes_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.setattr(
        "pliant.training.loop.main", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    options = ["--minutes", "2.5", "--output", "run", "--resume", "--set", "a=1", "--set", "b=c=d"]
    assert main(["train", "default", "one", "two", *options, "--from", "base.pt"]) == 0
    expected = {"minutes": 2.5, "output": "run", "resume": True, "device": "cpu"}
    expected["start"] = "base.pt"
    assert calls == [
        (("default", ["one", "two"]), {**expected, "overrides": {"a": "1", "b": "c=d"}})
    ]


def test_help_and_info_start_fast() -> None:
    photo("a.png")
    main(["encode", "--quiet", "a.png"])
    for arguments in (["--help"], ["--version"], ["info", "a.pli"]):
        seconds = []
        for _ in range(3):
            # Processor time: on a busy machine the clock measures the neighbours.
            before = os.times()
            command = [sys.executable, "-m", "pliant", *arguments]
            subprocess.run(command, check=True, capture_output=True)
            after = os.times()
            user = after.children_user - before.children_user
            seconds.append(user + after.children_system - before.children_system)
        assert min(seconds) < 0.15


def test_a_process_gives_the_exit_code_and_all_of_its_output() -> None:
    command = [sys.executable, "-m", "pliant"]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert helped.stdout.rstrip().endswith("130 interrupted.")
    failed = subprocess.run([*command, "info", "no.pli"], capture_output=True, text=True)
    assert failed.returncode == 3
    assert failed.stderr.startswith("pliant: error: no.pli: cannot be read")
