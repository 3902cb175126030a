"""Distances of a run: those of `distances` on the kept files, computed once."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pliant.errors import UsageError
from pliant.evaluation import codecs, features, set_distances
from pliant.evaluation.distances import distances
from pliant.evaluation.lock import locked
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import images_in
from pliant.evaluation.run import evaluate
from pliant.evaluation.set_distances import SetDistance, check, compute
from pliant.evaluation.table import Row

NAMES = ("fd_random", "kd_random")


@pytest.fixture
def images(tmp_path: Path, photos: dict[str, Pixels]) -> list[Path]:
    """Two photos, of two patches and of one."""
    (tmp_path / "images").mkdir()
    for name, side in (("astronaut", 384), ("coffee", 256)):
        Image.fromarray(photos[name][:side, :side]).save(tmp_path / "images" / f"{name}.png")
    return images_in(tmp_path / "images")


@pytest.fixture
def rows(tmp_path: Path, images: list[Path]) -> list[Row]:
    return evaluate(["jpeg@20,60", "webp@30"], images, tmp_path, metrics=["psnr"], workers=0)


def found(
    rows: list[Row], images: list[Path], folder: Path, names: tuple[str, ...] = NAMES
) -> tuple[list[SetDistance], list[str], int]:
    """The distances, what failed, and how many codecs and qualities were worked on."""
    failures: list[str] = []
    steps: list[tuple[int, int]] = []
    entries = compute(
        rows,
        images,
        folder,
        names,
        progress=lambda *step: steps.append(step),
        failed=lambda error: failures.append(str(error)),
    )
    assert [done for done, _ in steps] == list(range(steps[0][1] + 1))
    return entries, failures, steps[0][1]


def test_they_are_those_of_the_files(rows: list[Row], images: list[Path], tmp_path: Path) -> None:
    entries, failures, _ = found(rows, images, tmp_path)
    assert not failures
    assert [(e.codec, e.quality, e.name) for e in entries] == [
        (codec, quality, name)
        for codec, quality in (("jpeg-420", 20), ("jpeg-420", 60), ("webp", 30))
        for name in NAMES
    ]
    for first, second in zip(entries[::2], entries[1::2], strict=True):
        own = [r for r in rows if (r.codec, r.quality) == (first.codec, first.quality)]
        decode = codecs.find(first.codec).decode
        direct = distances(images, [decode((tmp_path / r.file).read_bytes()) for r in own], NAMES)
        assert {first.name: first.value, second.name: second.value} == direct
        assert (first.images, first.patches) == (2, 3)
        assert first.bpp == pytest.approx(np.mean([row.bpp for row in own]))
        assert first.features == features.find_features("random").description
    assert entries[0].value > entries[2].value > 0


def test_a_finished_one_is_not_computed_again(
    rows: list[Row], images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, worked = found(rows, images, tmp_path, NAMES[:1])
    assert (len(one), worked) == (3, 3)
    asked: list[list[str]] = []

    def spy(references: list[Path], decoded: object, names: list[str]) -> dict[str, float]:
        asked.append(names)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return dict.fromkeys(names, 0.5)

    monkeypatch.setattr(set_distances, "distances", spy)
    with pytest.raises(KeyboardInterrupt):
        found(rows, images, tmp_path)
    entries, _, worked = found(rows, images, tmp_path)
    assert asked == [["kd_random"]] * 4  # one finished, one interrupted, two left
    assert worked == 2
    assert entries[::2] == one
    assert [entry.value for entry in entries[1::2]] == [0.5] * 3
    assert found(list(reversed(rows)), images, tmp_path)[2] == 0
    with (tmp_path / set_distances.CSV).open(newline="") as file:
        assert [line["value"] for line in csv.DictReader(file)].count("0.5") == 3


def test_other_versions_and_other_sets_are_others(
    rows: list[Row], images: list[Path], tmp_path: Path
) -> None:
    found(rows, images, tmp_path)
    newer = [replace(row, version="2") for row in rows if row.codec == "webp"]
    assert found(newer, images, tmp_path)[2] == 1
    larger = [row for row in rows if row.image == "astronaut.png"]
    entries, _, worked = found(larger, images, tmp_path)
    assert (worked, {entry.patches for entry in entries}) == (3, {2})


def test_only_sets_that_are_whole(rows: list[Row], images: list[Path], tmp_path: Path) -> None:
    timed = [replace(row, codec="timed", metrics={}) for row in rows[:1]]
    entries, _, _ = found([*rows[1:], *timed], images, tmp_path, NAMES[:1])
    assert [(e.codec, e.quality) for e in entries] == [("jpeg-420", 60), ("webp", 30)]


def test_what_fails_is_told_and_the_others_go_on(
    rows: list[Row], images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / rows[-1].file).unlink()
    entries, failures, _ = found(rows, images, tmp_path, NAMES[:1])
    assert [entry.codec for entry in entries] == ["jpeg-420"] * 2
    assert failures == ["distances of webp at 30: no kept file of coffee.png"]
    with locked(tmp_path), pytest.raises(UsageError, match="another run"):
        found(rows, images, tmp_path)


def test_checks_come_before_the_work(images: list[Path], tmp_path: Path) -> None:
    check(NAMES, images)
    with pytest.raises(UsageError, match="'beauty'"):
        check(["beauty"], images)
    with pytest.raises(UsageError, match="two patches of 256x256; the images have 1"):
        check(NAMES, images[1:])
    Image.new("RGB", (300, 255)).save(tmp_path / "low.png")
    with pytest.raises(UsageError, match=r"256x256 fits into low\.png of 300x255 pixels"):
        check(NAMES, [*images, tmp_path / "low.png"])
    (tmp_path / "broken.png").write_text("no image")  # the run tells about it
    check(NAMES, [*images, tmp_path / "broken.png"])


def test_curves_rise_in_rate(rows: list[Row], images: list[Path], tmp_path: Path) -> None:
    entries, _, _ = found(rows, images, tmp_path, NAMES[:1])
    curves = set_distances.curves_of(reversed(entries))
    assert list(curves) == ["webp", "jpeg-420"]
    jpeg = curves["jpeg-420"]
    assert jpeg.quality == (20, 60)
    assert jpeg.bpp[0] < jpeg.bpp[1]
    assert jpeg.values("fd_random") == (-entries[0].value, -entries[1].value)
