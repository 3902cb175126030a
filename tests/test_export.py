"""Pictures → files of other formats: bad metadata costs no pixels."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_images import exif_block, pixels

from pliant.export import save, to_pil
from pliant.image import read
from pliant.picture import Picture


def full_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    exif[0x8769] = {0x829A: 0.01, 0x9003: "2020:01:01 00:00:00", 0xA005: {1: "R98"}}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return exif.tobytes().removeprefix(b"Exif\0\0")


STORAGE = [(256, 4000), (257, 2), (258, 16), (262, 0), (262, 6), (277, 1), (278, 1), (284, 2)]
STORAGE += [(259, 6), (273, 8), (279, 12345), (317, 2), (322, 64), (338, 1), (339, 3), (531, 2)]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff_is_not_stored_by_tags_of_another_file(channels: int) -> None:
    picture = read(pixels(40, 60, channels))
    for tag, value in STORAGE:
        exif = exif_block((tag, 4 if value > 20 else 3, 1, value))
        stream = io.BytesIO()
        assert save(Picture(picture.pixels, picture.alpha, exif=exif), stream, "tiff") == ()
        again = read(stream.getvalue())
        assert again.layout == picture.layout
        assert np.array_equal(np.asarray(to_pil(again)), np.asarray(to_pil(picture)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff_keeps_the_tables_of_a_camera(channels: int, tmp_path: Path) -> None:
    picture = read(pixels(20, 30, channels))
    path = tmp_path / "a.tiff"
    picture = Picture(picture.pixels, picture.alpha, exif=full_exif(), xmp=b"<x/>")
    assert save(picture, path) == ()
    again = read(path)
    assert np.array_equal(again.pixels, picture.pixels)
    assert again.xmp == picture.xmp
    assert again.exif is not None
    kept = Image.Exif()
    kept.load(again.exif)
    assert kept[0x010E] == "a picture"
    assert kept.get_ifd(0x8769) == {0x829A: 0.01, 0x9003: "2020:01:01 00:00:00"}
    assert kept.get_ifd(0x8825) == {1: "N", 2: (1.0, 2.0, 3.0)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("form", "exif"),
    [
        ("tiff", b"II*\0"),
        ("avif", b"II*\0"),
        ("tiff", exif_block((296, 3, 1, 7))),
        ("tiff", exif_block((305, 11, 1, 0x3F800000))),
        ("avif", exif_block((274, 12, 1, 8), (305, 3, 1, 9))),
        ("avif", exif_block((274, 2, 4, 0x333231))),
    ],
)
def test_damaged_exif_does_not_stop_writing(form: str, exif: bytes, tmp_path: Path) -> None:
    picture = Picture(pixels(20, 30), exif=exif, xmp=b"<x/>")
    path, stream = tmp_path / f"a.{form}", io.BytesIO()
    assert save(picture, path) == save(picture, stream, form) == ("EXIF is damaged; left out",)
    assert path.read_bytes() == stream.getvalue()
    assert read(path).xmp == b"<x/>"
    assert read(path).exif is None
    if form == "tiff":
        assert np.array_equal(read(path).pixels, picture.pixels)
    assert save(picture, os.devnull, form) == ("EXIF is damaged; left out",)


def test_a_second_try_begins_with_an_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(image: Image.Image, stream: Any, format: str, **options: Any) -> None:
        stream.write(b"longer" if "exif" in options else b"bare")
        if "exif" in options:
            raise KeyError(262)

    monkeypatch.setattr(Image.Image, "save", broken)
    save(Picture(pixels(2, 2), exif=b"II*\0"), tmp_path / "a.avif")
    assert (tmp_path / "a.avif").read_bytes() == b"bare"


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")])
def test_what_is_not_the_fault_of_exif_is_not_tried_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refused(*_: Any, **options: Any) -> None:
        tries.append(options)
        raise error

    monkeypatch.setattr(Image.Image, "save", refused)
    with pytest.raises(type(error)):
        save(Picture(pixels(2, 2), exif=b"II*\0"), io.BytesIO(), "avif")
    assert len(tries) == 1
