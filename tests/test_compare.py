"""One picture at equal bytes: the figures, the picture, and what the command says and refuses."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pliant.cli.main import main
from pliant.errors import LimitError, MissingError, UsageError
from pliant.evaluation import codecs, compare, metrics
from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.metrics import Pixels
from pliant.image import read

find = codecs.find


def stub(name: str) -> ImageCodec:
    """Pliant's place in quick tests: JPEG with fewer losses in colour."""
    jpeg = find("jpeg-444")
    return dataclasses.replace(jpeg, name=name, label=name.title())


def broken(_: Pixels, quality: float) -> bytes:
    raise ValueError("this side is too long")


@pytest.fixture(autouse=True)
def few_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codecs that need no weights and no packages, some of them with something wrong."""

    def quick(spec: str, **options: Any) -> ImageCodec:
        if spec.startswith("pliant"):
            return stub(spec)
        if spec == "missing":
            raise MissingError("missing needs a package")
        if spec == "broken":
            return dataclasses.replace(stub(spec), encode=broken)
        if spec == "random":
            return dataclasses.replace(stub(spec), timing_only=True)
        return find(spec, **options)

    monkeypatch.setattr(codecs, "find", quick)
    monkeypatch.setattr(metrics, "available", lambda: ("psnr", "psnr_y", "ms_ssim"))


@pytest.fixture
def pixels(photo: Pixels) -> Pixels:
    """A piece of a photo that is large enough for MS-SSIM."""
    return np.ascontiguousarray(photo[:170, :200])


# --- flatten ------------------------------------------------------------------------------------


def test_transparency_is_composited_on_white() -> None:
    image = Image.effect_noise((30, 20), 90).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    flat, notes = compare.flatten(read(image))
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    assert np.abs(flat.astype(int) - np.asarray(white.convert("RGB"))).max() <= 1
    assert compare.NOTE_ALPHA in notes
    image.putalpha(255)
    assert compare.flatten(read(image))[1] == ()


def test_grey_and_16_bit_say_so() -> None:
    samples = np.arange(60, dtype=np.uint16).reshape(6, 10) * 1000
    flat, notes = compare.flatten(read(samples))
    assert flat.shape == (6, 10, 3)
    assert np.array_equal(flat[..., 0], np.round(samples / 257))
    assert len(notes) == 2
    assert compare.NOTE_GREY in notes
    assert "16-bit" in " ".join(notes)


# --- compare ------------------------------------------------------------------------------------


def test_everyone_spends_the_bytes_and_the_best_is_first(pixels: Pixels) -> None:
    found = compare.compare(pixels, ["jpeg", "webp", "jpeg2000"], size=6000)
    assert {result.codec.name for result in found.results} == {"jpeg-420", "webp", "jpeg2000"}
    for result in found.results:
        assert result.reached
        assert result.bytes == len(result.codec.encode(pixels, result.quality))
        assert result.bytes == pytest.approx(6000, rel=0.05)
        assert bool(result.note) == (abs(result.bytes - 6000) > 120)
        assert result.metrics["psnr"] == metrics.psnr(pixels, result.decoded)
        assert result.metrics["ms_ssim"] == metrics.ms_ssim(pixels, result.decoded)
        assert result.encode_seconds > 0
        assert result.decode_seconds > 0
    values = [result.metrics["psnr"] for result in found.results]
    assert values == sorted(values, reverse=True)
    assert found.bpp(6000) == pytest.approx(8 * 6000 / (170 * 200))


def test_by_default_pliant_sets_the_size(pixels: Pixels) -> None:
    wanted = len(stub("pliant").encode(pixels, 70))
    found = compare.compare(pixels, ["webp", "pliant"], quality=70)
    assert found.size == wanted
    own = next(result for result in found.results if result.codec.name == "pliant")
    assert (own.quality, own.bytes) == (70, wanted)
    without = compare.compare(pixels, ["webp"], quality=70)
    assert without.size == wanted
    assert [result.codec.name for result in without.results] == ["webp"]


@pytest.mark.parametrize("size,note", [(300, "the smallest"), (10**6, "the largest")])
def test_what_cannot_be_reached_is_said(pixels: Pixels, size: int, note: str) -> None:
    found = compare.compare(pixels, ["jpeg", "webp"], size=size)
    for result in found.results:
        assert not result.reached
        assert result.note.startswith(note)


def test_steps_that_are_too_long_are_no_fair_rivals(pixels: Pixels) -> None:
    jpeg = find("jpeg")
    coarse = dataclasses.replace(
        jpeg, encode=lambda p, q: jpeg.encode(p, 20 if q < 50 else 90), search=(0.0, 50.0, 100.0)
    )
    below, above = (len(coarse.encode(pixels, q)) for q in (0, 100))
    for size, reached in ((round(1.05 * below), True), ((below + above) // 2, False)):
        assert compare._judged(coarse, 50.0, below, size)[0] is reached


def test_those_that_spend_more_come_last(pixels: Pixels) -> None:
    smallest = len(find("webp").encode(pixels, 0))
    found = compare.compare(pixels, ["webp", "jpeg2000"], size=smallest // 2)
    webp, jpeg2000 = (
        next(r for r in found.results if r.codec.name == name) for name in ("webp", "jpeg2000")
    )
    assert webp.metrics["psnr"] > jpeg2000.metrics["psnr"]
    assert found.results == (jpeg2000, webp)


def test_metrics_that_are_not_defined_are_left_out(pixels: Pixels) -> None:
    found = compare.compare(pixels[:40, :40], ["jpeg"], size=600)
    assert found.results[0].metrics.keys() == {"psnr"}


def test_what_does_not_work_is_left_out_with_a_sentence(pixels: Pixels) -> None:
    done: list[tuple[int, int]] = []
    found = compare.compare(
        pixels,
        ["missing", "broken", "jpeg", "jpeg-420", "random"],
        size=6000,
        progress=lambda number, total: done.append((number, total)),
    )
    assert [result.codec.name for result in found.results] == ["jpeg-420"]
    assert found.left_out == (
        "missing needs a package",
        "Random has random weights here: it can only be timed",
        "Broken fails on this picture: this side is too long",
    )
    assert done == [(0, 2), (1, 2), (2, 2)]


def test_nothing_to_compare_is_an_error(pixels: Pixels) -> None:
    with pytest.raises(MissingError, match="needs a package"):
        compare.compare(pixels, ["missing"], size=6000)
    with pytest.raises(LimitError, match="too long"):
        compare.compare(pixels, ["broken"], size=6000)
    with pytest.raises(UsageError, match="unknown codec"):
        compare.compare(pixels, ["gif"], size=6000)


# --- the command --------------------------------------------------------------------------------

TWO = ["--codec", "jpeg", "--codec", "webp"]


@pytest.fixture
def file(pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The piece of a photo in a file of the working folder."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels).save("a.png")
    return Path("a.png")


def test_table_and_picture(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a.png", "--size", "6k", "--codec", "missing", *TWO]) == 0
    told = capsys.readouterr()
    title, head, *rows, _ = told.out.splitlines()
    assert title == "a.png, 200 × 170: every codec at 6000 bytes, 1.412 bpp"
    assert head.split()[:4] == ["codec", "quality", "bytes", "bpp"]
    assert sorted(row.split()[0] for row in rows) == ["JPEG", "WebP"]
    end = head.index("PSNR (RGB)") + len("PSNR (RGB)")
    assert all(row[end - 3] == "." and row[end] == " " for row in rows)  # in their column
    assert "left out: missing needs a package" in told.err
    with Image.open("a.compare.png") as picture:
        assert picture.size[0] > 4 * 384


def test_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "a.png", "--bpp", "1.5", "--crop", "10,20,50,40", "-o", "out.png"]
    assert main([*command, *TWO, "--json"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    record = json.loads(told.out)
    assert record["bytes"] == int(1.5 * 170 * 200 / 8)
    assert (record["input"], record["output"]) == ("a.png", "out.png")
    assert record["crop"] == [10, 20, 50, 40]
    assert {entry["codec"] for entry in record["codecs"]} == {"jpeg-420", "webp"}
    entry = record["codecs"][0]
    assert entry["bpp"] == pytest.approx(8 * entry["bytes"] / (170 * 200))
    assert entry["metrics"].keys() == {"psnr", "ms_ssim"}
    assert entry["encode_mps"] > 0


def test_crops_in_the_picture_are_those_of_the_files(file: Path, pixels: Pixels) -> None:
    arguments = ["compare", "a.png", "--size", "6000", "--crop", "10,20,50,40", "--codec", "jpeg"]
    assert main([*arguments, "--quiet"]) == 0
    found = compare.compare(pixels, ["jpeg"], size=6000).results[0]
    cell = 384 // 50
    with Image.open("a.compare.png") as picture:
        shown = np.asarray(picture)
    crop = found.decoded[20:60, 10:60].repeat(cell, 0).repeat(cell, 1)
    window = np.lib.stride_tricks.sliding_window_view(shown, (1, crop.shape[1]), (0, 1))
    rows = np.argwhere((window[:, :, :, 0] == crop[0].T).all((2, 3)))
    assert any(
        np.array_equal(shown[y : y + crop.shape[0], x : x + crop.shape[1]], crop) for y, x in rows
    )


def test_streams(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(file.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["compare", "-", "--size", "6000", "--codec", "jpeg"]) == 2
    assert main(["compare", "-", "-o", "b.png", "--size", "6000", "--codec", "jpeg"]) == 0
    assert Path("b.png").exists()


def test_wrong_use_is_2_and_damage_3(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["compare", "a.png", "--size", "6000", "--codec", "jpeg"]
    assert main([*quick, "-o", "b.jpg"]) == 2
    assert main([*quick, "--crop", "180,0,21,10"]) == 2
    assert "200 × 170" in capsys.readouterr().err
    assert main([*quick, "--crop", "1,2,3"]) == 2
    assert main([*quick, "--bpp", "1"]) == 2
    assert main([*quick, "-o", "a.png", "--force"]) == 2  # the input itself
    Path("a.compare.png").write_bytes(b"mine")
    assert main(quick) == 2
    assert Path("a.compare.png").read_bytes() == b"mine"
    assert main([*quick, "--force"]) == 0
    assert main([*quick[:-1], "missing", "-o", "c.png"]) == 5
    Path("bad.png").write_bytes(b"no picture")
    assert main(["compare", "bad.png", "--size", "6000"]) == 3
    assert main(["compare", "none.png", "--size", "6000"]) == 3
    assert main([*quick, "--force", "--max-pixels", "100"]) == 4


def test_the_profile_of_the_original_goes_with_the_picture(file: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for mode, kept in (("RGB", profile), ("L", None)):
        with Image.open("a.png") as image:
            image.convert(mode).save("b.png", icc_profile=profile if kept else None)
        assert main(["compare", "b.png", "--force", "--size", "6000", "--codec", "jpeg"]) == 0
        with Image.open("b.compare.png") as picture:
            assert picture.info.get("icc_profile") == kept


def test_help_imports_nothing_heavy() -> None:
    check = (
        "import sys; from pliant.cli.main import parser; parser().format_help();"
        "print([m for m in ('numpy', 'torch', 'PIL', 'urllib.request') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
