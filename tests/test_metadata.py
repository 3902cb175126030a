"""EXIF of opened images: the orientation reset wherever it is, damage left out."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from small_images import exif_block, file, pixels

from pliant.image import read


@pytest.mark.parametrize("kind", [3, 4, 6, 8, 9, 13])
def test_an_orientation_of_any_integer_kind_is_reset(kind: int) -> None:
    data = file(Image.fromarray(pixels(4, 6)), exif=b"Exif\0\0" + exif_block((274, kind, 1, 6)))
    picture = read(data)
    assert picture.pixels.shape == (6, 4, 3)
    assert picture.exif == exif_block((274, kind, 1, 1))


def test_orientations_are_reset_where_their_values_are() -> None:
    def block(value: int) -> bytes:
        values = struct.pack("<HHHHQ", value, 6, 6, 6, value)
        return exif_block((274, 3, 3, 50), (274, 16, 1, 58), (270, 2, 4, 6), more=values + b"more")

    picture = read(file(Image.fromarray(pixels(4, 6)), exif=b"Exif\0\0" + block(8)))
    assert picture.exif == block(1)


@pytest.mark.parametrize("tag", [270, 305, 315, 33432])
def test_a_tiff_file_with_numbers_for_text_is_read(tag: int) -> None:
    original = Image.fromarray(pixels(4, 6))
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[tag] = 12
    tags[tag] = 2.5
    picture = read(file(original, "TIFF", tiffinfo=tags))
    assert np.array_equal(picture.pixels, np.asarray(original))
    assert (picture.exif, picture.notes) == (None, ("EXIF is damaged; left out",))


def test_a_raw_profile_that_cannot_be_written_anew_is_left_out() -> None:
    profile = exif_block((305, 11, 1, 0x3F800000)).hex()
    image = Image.fromarray(pixels(4, 6))
    image.info["Raw profile type exif"] = f"\nexif\n{len(profile) // 2}\n{profile}"
    picture = read(image)
    assert (picture.exif, picture.notes) == (None, ("EXIF is damaged; left out",))
