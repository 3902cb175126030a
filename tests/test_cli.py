"""The command line with a lossless stand-in codec: names, options, JSON, formats."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import fake_codec
import numpy as np
import pytest
from cli_files import photo, pixels
from PIL import Image

from pliant.cli.main import main
from pliant.container import read
from pliant.rate import to_quality

KEYS = {"input", "output", "bytes", "bpp", "width", "height", "quality", "model", "seconds"}

pytestmark = pytest.mark.usefixtures("stand_in")


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
    # by its id, as it is not installed
    assert (first["model"], first["notes"]) == (b"fake".hex(), [])
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
    models = [{"name": "default", "id": "01020304"}, {"name": "large", "id": None}]
    checks = [{"name": "default", "ok": True}, {"name": "old", "ok": False}]
    monkeypatch.setattr(
        "pliant.models.registry.describe", lambda untrained: models[: 1 + untrained]
    )
    monkeypatch.setattr("pliant.models.registry.verify", lambda: checks)
    assert main(["models"]) == 0
    assert capsys.readouterr().out == "default\n  id                       01020304\n"
    assert main(["models", "--all"]) == 0
    assert "\nlarge\n" in capsys.readouterr().out
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
