"""The engine of `pliant eval`: order, nothing twice, failures, metrics added later, killed runs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pliant.errors import MissingError, PliantError, UsageError
from pliant.evaluation import codecs, jobs, metrics, run
from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import digest, images_in, read_rgb
from pliant.evaluation.run import evaluate
from pliant.evaluation.table import CSV, JOURNAL, Row, Table

SIZES = {"b.png": (24, 20), "a.png": (20, 24), "c.png": (16, 16)}
QUALITIES = (2.0, 5.0, 10.0)
PSNR = ("psnr",)


@dataclass
class Fakes:
    """Codecs that keep every n-th level, by name; they note what they encode."""

    codecs: dict[str, ImageCodec] = field(default_factory=dict)
    encoded: list[tuple[str, tuple[int, ...], float]] = field(default_factory=list)

    def add(self, name: str, **changes: object) -> None:
        def encode(pixels: Pixels, quality: float) -> bytes:
            if pixels.shape[0] != 128:  # the picture that warms up
                self.encoded.append((name, pixels.shape, quality))
            step = max(1, round(64 / quality))
            coarse = (pixels // step * step).astype(np.uint8)
            return bytes([*np.array(pixels.shape, np.uint16).tobytes()]) + coarse.tobytes()

        def decode(data: bytes) -> Pixels:
            return np.frombuffer(data[6:], np.uint8).reshape(np.frombuffer(data[:6], np.uint16))

        made = ImageCodec(name, name.upper(), "1", QUALITIES, encode, decode, extension="raw")
        self.codecs[name] = replace(made, **changes)  # type: ignore[arg-type]

    def find(self, spec: str, **_: object) -> ImageCodec:
        name, _, qualities = spec.partition("@")
        if name == "absent":
            raise MissingError("it needs a package")
        if name not in self.codecs:
            raise UsageError(f"unknown codec {name}")
        asked = tuple(map(float, qualities.split(","))) if qualities else QUALITIES
        return replace(self.codecs[name], qualities=asked)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fakes]:
    made = Fakes()
    for name in ("z:1", "fake"):
        made.add(name)
    monkeypatch.setattr(codecs, "find", made.find)
    jobs.warm.cache_clear()
    yield made
    jobs.warm.cache_clear()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three tiny pictures of noise in a folder."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name)
    return folder


def lines(folder: Path) -> int:
    journal = folder / JOURNAL
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def timeless(rows: list[Row]) -> list[Row]:
    zeros = {"encode_seconds": 0.0, "decode_seconds": 0.0, "peak_memory": 0.0}
    return [replace(row, **zeros) for row in rows]  # type: ignore[arg-type]


# --- rows ---------------------------------------------------------------------------------------


def test_rows_are_what_the_files_hold(fakes: Fakes, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    steps: list[tuple[int, int]] = []
    rows = evaluate(
        ["z:1", "fake"],
        images_in(images),
        out,
        workers=0,
        progress=lambda done, total: steps.append((done, total)),
    )
    wanted = [
        (codec, image, quality)
        for codec in ("z:1", "fake")
        for image in ("a.png", "b.png", "c.png")
        for quality in QUALITIES
    ]
    assert [(row.codec, row.image, row.quality) for row in rows] == wanted
    assert steps == [(done, len(wanted)) for done in range(len(wanted) + 1)]
    for row in rows:
        pixels = read_rgb(images / row.image)
        data = (out / row.file).read_bytes()
        assert row.bytes == len(data) == 6 + pixels.size
        assert (row.width, row.height) == SIZES[row.image]
        assert row.digest == digest(pixels)
        assert row.bpp == pytest.approx(8 * len(data) / (row.width * row.height))
        assert row.psnr == metrics.psnr(pixels, fakes.codecs[row.codec].decode(data))
        assert row.undefined == ("ms_ssim",)
        assert min(row.encode_seconds, row.decode_seconds) > 0
        if sys.platform.startswith("linux"):
            assert 10 < row.peak_memory < 100_000
    assert rows[1].file == "files/z-1/a@5.raw"
    assert len((out / CSV).read_text().splitlines()) == 1 + len(wanted)


def test_nothing_is_computed_twice(fakes: Fakes, images: Path, tmp_path: Path) -> None:
    first = evaluate(["fake"], images_in(images)[:2], tmp_path / "out", workers=0)
    assert len(fakes.encoded) == 6
    again = evaluate(["fake"], images_in(images)[:2], tmp_path / "out", workers=0)
    assert again == first
    assert len(fakes.encoded) == 6
    more = evaluate(["fake@7,2", "fake@3"], images_in(images), tmp_path / "out", workers=0)
    assert len(fakes.encoded) == len(set(fakes.encoded)) == 6 + 4 + 3
    assert [row.quality for row in more] == [2, 3, 7] * 3
    assert lines(tmp_path / "out") == 13


def test_other_versions_and_pixels_are_other_rows(
    fakes: Fakes, images: Path, tmp_path: Path
) -> None:
    def once() -> list[Row]:
        jobs.warm.cache_clear()
        return evaluate(["fake@5"], [images / "a.png"], tmp_path / "out", workers=0)

    (old,) = once()
    fakes.add("fake", version="2")
    (new,) = once()
    assert (old.version, new.version, len(fakes.encoded)) == ("1", "2", 2)
    assert Table(tmp_path / "out").rows[old.key].file == ""  # its file was replaced
    Image.fromarray(read_rgb(images / "a.png")[::-1]).save(images / "a.png")
    assert once()[0].digest != new.digest
    assert len(fakes.encoded) == 3


def test_a_codec_under_development_is_known_by_its_source(fakes: Fakes) -> None:
    fakes.add("ours", released=False)
    assert run.version_of(fakes.codecs["fake"]) == "1"
    assert run.version_of(fakes.codecs["ours"]).startswith("1, source ")


def test_equal_pictures_share_their_row(fakes: Fakes, images: Path, tmp_path: Path) -> None:
    Image.open(images / "a.png").save(images / "copy.bmp")
    rows = evaluate(
        ["fake@5"], [images / "a.png", images / "copy.bmp"], tmp_path / "out", workers=0
    )
    assert [row.image for row in rows] == ["a.png", "copy.bmp"]
    assert len(fakes.encoded) == 1
    assert all((tmp_path / "out" / row.file).exists() for row in rows)


def test_pictures_of_one_stem_have_files_of_their_own(
    fakes: Fakes, images: Path, tmp_path: Path
) -> None:
    Image.open(images / "b.png").save(images / "a.bmp")
    rows = evaluate(["fake@5"], [images / "a.bmp", images / "a.png"], tmp_path, workers=0)
    assert [row.file for row in rows] == ["files/fake/a.bmp@5.raw", "files/fake/a.png@5.raw"]


def test_codecs_that_are_only_timed_have_no_metrics(
    fakes: Fakes, images: Path, tmp_path: Path
) -> None:
    fakes.add("random", timing_only=True, decode=lambda data: np.zeros((1, 1, 3), np.uint8))
    rows = evaluate(["random"], images_in(images), tmp_path / "out", workers=0)
    assert len(rows) == 9
    assert all(row.metrics == {} and row.decode_seconds > 0 for row in rows)
    evaluate(["random"], images_in(images), tmp_path / "out", workers=0)
    assert lines(tmp_path / "out") == 9


# --- metrics ------------------------------------------------------------------------------------


def test_ms_ssim_of_large_pictures_only(fakes: Fakes, images: Path, tmp_path: Path) -> None:
    Image.effect_noise((170, 165), 50).save(images / "large.png")
    paths = [images / "a.png", images / "large.png"]
    small, large = evaluate(["fake@5"], paths, tmp_path / "out", workers=0)
    assert (small.undefined, large.undefined) == (("ms_ssim",), ())
    assert "ms_ssim" not in small.metrics
    assert 0 < large.ms_ssim < 1
    evaluate(["fake@5"], paths, tmp_path / "out", workers=0)
    assert lines(tmp_path / "out") == 2  # what is not defined is not tried again


@pytest.mark.parametrize("keep_files", [True, False])
def test_a_metric_added_later(fakes: Fakes, images: Path, tmp_path: Path, keep_files: bool) -> None:
    def at(names: tuple[str, ...]) -> list[Row]:
        return evaluate(
            ["fake"], images_in(images), tmp_path, metrics=names, workers=0, keep_files=keep_files
        )

    before, after = at(PSNR), at(("psnr_y",))
    assert len(fakes.encoded) == (9 if keep_files else 18)
    kept = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    assert len(kept) == (9 if keep_files else 0)
    for old, new in zip(before, after, strict=True):
        assert new.metrics == {**old.metrics, "psnr_y": new.metrics["psnr_y"]}
        if keep_files:
            assert new == replace(old, metrics=new.metrics)
    # A kept file that is not the row's own any more is no source for a metric.
    if keep_files:
        (tmp_path / before[0].file).write_bytes(b"short")
        evaluate(["fake"], images_in(images), tmp_path, metrics=("ms_ssim",), workers=0)
        assert len(fakes.encoded) == 10


def test_metrics_are_checked_before_the_work(
    fakes: Fakes, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingError("it needs weights")

    monkeypatch.setitem(metrics.METRICS, "deep", replace(metrics.METRICS["psnr"], check=missing))
    for name, error in (("shallow", UsageError), ("deep", MissingError)):
        with pytest.raises(error):
            evaluate(["fake"], images_in(images), tmp_path / "out", metrics=(name,), workers=0)
    assert not fakes.encoded


# --- failures -----------------------------------------------------------------------------------


def test_what_fails_is_told_and_the_rest_goes_on(
    fakes: Fakes, images: Path, tmp_path: Path
) -> None:
    def encode(pixels: Pixels, quality: float) -> bytes:
        if pixels.shape == (16, 16, 3) and quality == 5:
            raise RuntimeError("too\nround")
        return fakes.codecs["fake"].encode(pixels, quality)

    fakes.add("moody", encode=encode)
    fakes.add("shrinking", decode=lambda data: np.zeros((2, 2, 3), np.uint8))
    (images / "broken.png").write_text("no image")
    errors: list[PliantError] = []
    rows = evaluate(
        ["absent", "moody", "shrinking@2"],
        images_in(images),
        tmp_path / "out",
        workers=0,
        failed=errors.append,
    )
    sentences = list(map(str, errors))
    assert sentences[0] == "absent: it needs a package"
    assert sentences[1] == "broken.png: this is not an image in a format that Pillow reads"
    assert sentences[2] == "moody at 5, c.png: unexpected failure: too round"
    assert (
        sentences[3] == "shrinking at 2, a.png: decoded to shape (2, 2, 3) instead of (24, 20, 3)"
    )
    assert len(sentences) == 6
    assert len(rows) == lines(tmp_path / "out") == 8
    with pytest.raises(PliantError, match=r"^broken\.png"):
        evaluate(["moody"], images_in(images), tmp_path / "out", workers=0)


def test_without_any_codec_there_is_no_run(fakes: Fakes, images: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="package"):
        evaluate(["absent"], images_in(images), tmp_path, workers=0, failed=lambda error: None)
    with pytest.raises(UsageError, match="unknown codec nobody"):
        evaluate(["fake", "nobody"], images_in(images), tmp_path, workers=0)


def test_two_runs_in_one_folder_are_refused(fakes: Fakes, images: Path, tmp_path: Path) -> None:
    def second(done: int, total: int) -> None:
        evaluate(["fake"], images_in(images), tmp_path / "out", workers=0)

    with pytest.raises(UsageError, match="another run"):
        evaluate(["fake"], images_in(images), tmp_path / "out", workers=0, progress=second)


# --- processes ----------------------------------------------------------------------------------

_write = jobs.write


def dying_write(codec: str, image: Path, quality: float, file: Path) -> jobs.Written:
    """Takes its process with it on one image."""
    if image.name == "b.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return _write(codec, image, quality, file)


def test_a_dying_worker_loses_its_row_only(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "write", dying_write)
    errors: list[PliantError] = []
    rows = evaluate(
        ["jpeg@30"], images_in(images), tmp_path / "out", workers=2, failed=errors.append
    )
    assert [row.image for row in rows] == ["a.png", "c.png"]
    assert list(map(str, errors)) == [
        "jpeg-420 at 30, b.png: the worker process was ended by signal 9"
    ]
    assert {row.workers for row in rows} == {2}


SPECS = [f"jpeg@{','.join(map(str, range(3, 93, 3)))}", f"webp@{','.join(map(str, range(10)))}"]
RUN = f"""
import sys
from pathlib import Path
from pliant.evaluation.pictures import images_in
from pliant.evaluation.run import evaluate

evaluate({SPECS}, images_in(Path(sys.argv[1])), Path(sys.argv[2]), workers=2)
"""


def is_killed(command: list[str], begun: Callable[[], bool], seconds: float) -> bool:
    """Runs the command and kills it so long after it has begun; False if it was done before."""
    process = subprocess.Popen(command)
    while process.poll() is None and not begun():
        time.sleep(0.001)
    time.sleep(seconds)
    process.kill()
    return process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_ten_kills_leave_the_table_of_an_uninterrupted_run(images: Path, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    expected = evaluate(SPECS, images_in(images), whole, workers=0)
    command = [sys.executable, "-c", RUN, str(images), str(torn)]
    rng, kills, done = random.Random(8), 0, 0
    for turn in range(10):
        # Every third while it starts, the others soon after their first row.
        starting = turn % 3 == 0
        moment = rng.uniform(0, 0.25 if starting else 0.01)
        kills += is_killed(command, lambda: starting or lines(torn) > done, moment)  # noqa: B023
        done = lines(torn)
    assert kills >= 8
    assert 0 < done < len(expected) == 120
    subprocess.run(command, check=True)
    rows = Table(torn).rows
    assert timeless([rows[row.key] for row in expected]) == [
        replace(row, workers=2) for row in timeless(expected)
    ]
    assert lines(torn) == len(rows) == len(expected)  # no finished row was computed again
    ours, theirs = ((folder / CSV).read_text().splitlines() for folder in (torn, whole))
    assert len(ours) == len(theirs)
    for row in expected:
        assert (torn / row.file).read_bytes() == (whole / row.file).read_bytes()
    kept = {path.name for path in (torn / "files").rglob("*") if path.is_file()}
    assert kept == {Path(row.file).name for row in expected}


def test_the_journal_is_plain_json(fakes: Fakes, images: Path, tmp_path: Path) -> None:
    evaluate(["fake@5"], [images / "a.png"], tmp_path / "out", workers=0)
    entry = json.loads((tmp_path / "out" / JOURNAL).read_text())
    assert entry["codec"] == "fake"
    assert set(entry["metrics"]) == {"psnr", "psnr_y"}
