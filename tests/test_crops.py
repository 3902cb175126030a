"""Which images, which files and which place the crops show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_rows import rows

from pliant.errors import PliantError
from pliant.evaluation import codecs, crops
from pliant.evaluation.curves import BDRate
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import digest
from pliant.evaluation.sheet import CROP_SIDE
from pliant.evaluation.table import Row


def test_extremes_are_the_ends_of_the_images_own_deltas() -> None:
    own = {name: BDRate(percent, 0, 1) for name, percent in (("a", -3), ("b", 9), ("c", 2))}
    worst, best = crops.extremes("x", own)
    assert (worst.image, worst.percent, worst.worst) == ("b", 9, True)
    assert (best.image, best.percent, best.worst) == ("a", -3, False)
    assert len(crops.extremes("x", {"a": own["a"]})) == 1
    assert crops.extremes("x", {}) == []


def test_pairs_are_of_nearly_equal_bytes_and_have_files() -> None:
    anchor = [replace(row, file="f") for row in rows("anchor", "a", 1.0)]
    test = [replace(row, file="f") for row in rows("test", "a", 0.9)]
    pair = crops.nearest_pair(anchor, test)
    assert pair is not None
    assert [row.quality for row in pair] == [2.0, 2.0]  # all pairs are as close; 0.2 bpp is nearest
    assert crops.nearest_pair(anchor, rows("test", "a", 0.9)) is None


def test_place_is_where_the_difference_is() -> None:
    original = np.full((400, 500, 3), 100, np.uint8)
    anchor, test = original.copy(), original.copy()
    test[200:240, 320:360] += 50  # the codec fails here
    anchor[20:60, 40:80] += 50  # and the anchor there
    box = crops.place(original, anchor, test, worst=True)
    assert box.y <= 200 < 240 <= box.y + CROP_SIDE
    assert box.x <= 320 < 360 <= box.x + CROP_SIDE
    box = crops.place(original, anchor, test, worst=False)
    assert box.y <= 20 < 60 <= box.y + CROP_SIDE
    assert box.x <= 40 < 80 <= box.x + CROP_SIDE


def test_place_in_a_picture_smaller_than_a_crop() -> None:
    small = np.zeros((50, 60, 3), np.uint8)
    assert crops.place(small, small, small + 1, worst=True) == (0, 0, 60, 50)


@pytest.fixture
def run(tmp_path: Path, photo: Pixels) -> tuple[Path, list[Row], list[Row]]:
    """A run folder with two kept files of two codecs, and their rows."""
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(photo).save(images / "a.png")
    found = []
    for name, quality in (("jpeg-420", 30.0), ("jpeg-444", 20.0)):
        data = codecs.find(name).encode(photo, quality)
        file = f"files/{name}/a@{quality:g}.jpg"
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_bytes(data)
        row = Row(
            codec=name,
            version="1",
            image="a.png",
            digest=digest(photo),
            quality=quality,
            width=photo.shape[1],
            height=photo.shape[0],
            bytes=len(data),
            metrics={"psnr": 30.0},
            file=file,
        )
        found.append([row])
    return tmp_path, found[0], found[1]


def test_crops_show_what_the_files_decode_to(
    run: tuple[Path, list[Row], list[Row]], photo: Pixels
) -> None:
    folder, anchor, test = run
    worst = crops.Extreme("jpeg-444", "a.png", 5.0, worst=True)
    pictures = crops.cut(worst, anchor, test, folder, folder / "images")
    assert [p.caption.partition(" at ")[0] for p in pictures] == [
        "original",
        "jpeg-420",
        "jpeg-444",
    ]
    shown = [np.asarray(Image.open(picture.path)) for picture in pictures]
    assert {picture.shape for picture in shown} == {(CROP_SIDE, CROP_SIDE, 3)}
    decoded = np.asarray(Image.open(folder / test[0].file).convert("RGB"))
    tops = range(photo.shape[0] - CROP_SIDE + 1)
    lefts = range(photo.shape[1] - CROP_SIDE + 1)
    square = (slice(0, CROP_SIDE), slice(0, CROP_SIDE))
    places = [
        (t, left)
        for t in tops
        for left in lefts
        if np.array_equal(photo[t:, left:][square], shown[0])
    ]
    assert any(np.array_equal(decoded[t:, left:][square], shown[2]) for t, left in places)
    assert f"{test[0].bytes:,}\u00a0bytes" in pictures[2].caption


def test_what_is_missing_is_named(run: tuple[Path, list[Row], list[Row]]) -> None:
    folder, anchor, test = run
    worst = crops.Extreme("jpeg-444", "a.png", 5.0, worst=True)
    images = folder / "images"
    with pytest.raises(PliantError, match="not there"):
        crops.cut(worst, anchor, test, folder, folder / "elsewhere")
    other = [replace(anchor[0], digest="0")]
    with pytest.raises(PliantError, match="not the picture"):
        crops.cut(worst, other, test, folder, images)
    with pytest.raises(PliantError, match="no kept files"):
        crops.cut(worst, anchor, [replace(test[0], file="")], folder, images)
    (folder / test[0].file).unlink()
    with pytest.raises(PliantError, match="kept file"):
        crops.cut(worst, anchor, test, folder, images)
