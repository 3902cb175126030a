"""Image files of every kind → Picture → image files of every kind."""

from __future__ import annotations

import errno
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from small_images import chunk, file, pixels, png, png_16

from pliant import image as pliant_image
from pliant.errors import DamagedError, LimitError, MissingError, UsageError
from pliant.image import Picture, read, save, to_pil
from pliant.limits import Limits

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6" a="b"/></x:xmpmeta>'


def gray_profile() -> bytes:
    return SRGB[:16] + b"GRAY" + SRGB[20:]


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (17, 33)])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_the_four_layouts_are_kept(size: tuple[int, int], mode: str) -> None:
    array = pixels(*size, len(mode) if mode != "L" else 1)
    original = Image.fromarray(
        array[..., 0] if mode == "L" else array, mode if mode == "LA" else None
    )
    picture = read(file(original))
    assert (picture.layout, picture.height, picture.width, picture.notes) == (mode, *size, ())
    assert to_pil(picture).mode == mode
    assert np.array_equal(np.asarray(to_pil(picture)), np.asarray(original))


def test_every_kind_of_source_gives_the_same(tmp_path: Path) -> None:
    array = pixels(5, 7)
    original = Image.fromarray(array)
    path = tmp_path / "ä -x.png"
    path.write_bytes(file(original))
    sources = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), original, array]
    sources += [io.BytesIO(path.read_bytes()), Picture(array)]
    for source in sources:
        assert np.array_equal(read(source).pixels, array)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write(path.read_bytes())
    with os.fdopen(reader, "rb") as stream:
        assert np.array_equal(read(stream).pixels, array)


def test_a_source_that_only_reads() -> None:
    class Reader:
        def __init__(self, data: bytes) -> None:
            self.read = io.BytesIO(data).read

    source: Any = Reader(file(Image.new("RGB", (4, 3))))
    assert read(source).width == 4


def test_pixels_do_not_share_memory_with_the_source() -> None:
    for source in (pixels(3, 3), pixels(3, 3, 4)):
        picture = read(source)
        before = picture.pixels.copy()
        source[...] = 0
        assert np.array_equal(picture.pixels, before)
        assert picture.pixels.flags.c_contiguous


def test_arrays() -> None:
    assert read(np.eye(3, dtype=bool)).pixels.max() == 255
    wide = read(np.array([[0, 128, 129, 65535]], np.uint16))
    assert wide.pixels[0, :, 0].tolist() == [0, 0, 1, 255]
    assert wide.notes == (pliant_image.NOTE_16_BIT,)
    for order in ("<u2", ">u2"):
        assert np.array_equal(read(np.array([[0, 128, 129, 65535]], order)).pixels, wide.pixels)
    assert read(pixels(2, 2, 2)).layout == "LA"
    for wrong in (np.zeros((2, 2, 5), np.uint8), np.zeros(4, np.uint8), np.zeros((2, 2))):
        with pytest.raises(UsageError, match="array must"):
            read(wrong)
    with pytest.raises(UsageError, match="at least one pixel"):
        read(np.zeros((0, 3), np.uint8))


def test_palettes() -> None:
    original = Image.fromarray(pixels(9, 9)).quantize(16)
    picture = read(file(original))
    assert (picture.layout, picture.notes) == ("RGB", ("the palette was expanded to RGB",))
    assert np.array_equal(picture.pixels, np.asarray(original.convert("RGB")))
    clear = read(file(original, transparency=3))
    assert clear.layout == "RGBA"
    assert np.array_equal(clear.alpha == 0, np.asarray(original) == 3)


def test_colour_keys_become_alpha() -> None:
    for mode, key, layout in (("L", 7, "LA"), ("RGB", (7, 7, 7), "RGBA")):
        picture = read(file(Image.new(mode, (4, 3), key), transparency=key))
        assert picture.layout == layout
        assert picture.alpha is not None
        assert not picture.alpha.any()


@pytest.mark.parametrize(("key", "alpha"), [(0, [255, 0, 255]), (1, [0, 255, 0])])
def test_a_key_in_black_and_white_becomes_alpha(key: int, alpha: list[int]) -> None:
    picture = read(png((3, 1), 1, 0, b"\0\xa0", chunk(b"tRNS", struct.pack(">H", key))))
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == alpha
    assert picture.pixels[0, :, 0].tolist() == [255, 0, 255]
    assert len(picture.notes) == 1


def test_a_key_in_16_bit_grey_becomes_alpha() -> None:
    samples = np.array([[0, 300, 301], [300, 65535, 7]], np.uint16)
    picture = read(png_16(samples, 0, chunk(b"tRNS", struct.pack(">H", 300))))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha == 0, samples == 300)
    assert picture.pixels[1, 1, 0] == picture.alpha[1, 1] == 255
    assert picture.notes == (pliant_image.NOTE_16_BIT,)


@pytest.mark.parametrize(
    ("mode", "layout", "note"),
    [
        ("1", "L", "black and white"),
        ("YCbCr", "RGB", "YCbCr colours were converted"),
        ("HSV", "RGB", "HSV colours were converted"),
        ("LAB", "RGB", "LAB colours were converted to sRGB"),
        ("CMYK", "RGB", "plain formula"),
        ("RGBX", "RGB", "RGBX"),
        ("PA", "RGBA", "palette"),
        ("La", "LA", "premultiplied"),
        ("RGBa", "RGBA", "premultiplied"),
    ],
)
def test_other_modes_are_converted_with_one_note(mode: str, layout: str, note: str) -> None:
    picture = read(Image.new(mode, (5, 4)))
    assert picture.layout == layout
    assert len(picture.notes) == 1
    assert note in picture.notes[0]


def test_premultiplied_grey() -> None:
    bands = [Image.new("L", (2, 2), value) for value in (50, 128)]
    straight = read(Image.merge("LA", bands).convert("La"))
    assert abs(int(straight.pixels[0, 0, 0]) - 50) <= 1
    assert straight.alpha is not None
    assert straight.alpha[0, 0] == 128


def test_lab_white_is_white() -> None:
    lab = Image.new("LAB", (2, 2), (255, 128, 128))
    assert read(lab).pixels.min() >= 250


def test_cmyk_jpeg_and_its_profile() -> None:
    array = np.full((8, 8, 4), (0, 255, 255, 0), np.uint8)
    original = Image.fromarray(array, "CMYK")
    for icc in (None, SRGB, b"rubbish" * 50):
        picture = read(file(original, "JPEG", quality=100, icc_profile=icc))
        assert (picture.layout, picture.icc, len(picture.notes)) == ("RGB", None, 1)
        assert picture.pixels[0, 0, 0] > 200
        assert picture.pixels[0, 0, 1] < 60


@pytest.mark.parametrize("colour_type", [0, 2])
def test_16_bit_png(colour_type: int) -> None:
    shape = (3, 4) if colour_type == 0 else (3, 4, 3)
    samples = np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)
    picture = read(png_16(samples, colour_type))
    assert picture.notes == (pliant_image.NOTE_16_BIT,)
    error = picture.pixels.reshape(shape).astype(float) - samples / 257
    assert np.abs(error).max() <= (0.5 if colour_type == 0 else 1)


def test_integer_and_float_images() -> None:
    deep = Image.fromarray(np.array([[0, 65535]], np.int32))
    assert read(deep).pixels.ravel().tolist() == [0, 255]
    with pytest.raises(UsageError, match="0 to 65535"):
        read(Image.fromarray(np.array([[-1, 70000]], np.int32)))
    with pytest.raises(UsageError, match="mode F"):
        read(Image.new("F", (2, 2)))


def test_animation_keeps_the_first_frame_with_a_note() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    picture = read(file(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert pliant_image.NOTE_FRAMES in picture.notes
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(format: str, orientation: int) -> None:
    yy, xx = np.mgrid[:24, :40]
    smooth = np.stack([5 * xx, 9 * yy, 3 * (xx + yy)], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a picture"
    options = {"quality": 100} if format == "JPEG" else {"lossless": True}
    data = file(Image.fromarray(smooth), format, exif=exif, **options)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    picture = read(data)
    assert np.array_equal(picture.pixels, np.asarray(expected))
    assert picture.exif is not None
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept.get(0x0112, 1) == 1
    assert kept[0x010E] == "a picture"


def test_orientation_of_a_palette_image_and_of_xmp_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = Image.fromarray(pixels(4, 9)).quantize(8)
    assert read(file(palette, exif=exif)).pixels.shape == (9, 4, 3)
    picture = read(file(Image.fromarray(pixels(8, 16)), "JPEG", xmp=XMP))
    assert picture.pixels.shape == (16, 8, 3)
    assert picture.xmp == XMP.replace(b'"6"', b'"1"')
    assert read(file(to_pil(picture), "JPEG", xmp=picture.xmp)).pixels.shape == (16, 8, 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_stays_byte_equal_but_for_the_orientation(order: str) -> None:
    def block(orientation: int) -> bytes:
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
        entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
        return head + struct.pack(order + "H", 1) + entry + bytes(4) + b"maker notes"

    data = file(Image.fromarray(pixels(4, 6)), "JPEG", exif=b"Exif\0\0" + block(8))
    assert read(data).exif == block(1)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\0\0\0", b"Exif\0\0junk!"])
def test_damaged_exif_does_not_stop_reading(exif: bytes) -> None:
    assert read(file(Image.new("RGB", (8, 8)), "JPEG", exif=exif)).width == 8


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "avif", "tiff"])
def test_metadata_survives_every_format(form: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    xmp = XMP.replace(b'"6"', b'"1"')
    picture = Picture(pixels(20, 30), None, SRGB, block, xmp)
    assert save(picture, tmp_path / f"a.{form}") == ()
    again = read(tmp_path / f"a.{form}")
    assert (again.icc, again.xmp, again.notes) == (SRGB, xmp, ())
    assert again.exif is not None
    kept = Image.Exif()
    kept.load(again.exif)
    assert kept[0x010E] == "a picture"
    if form in ("png", "webp", "tiff"):
        assert np.array_equal(again.pixels, picture.pixels)
    else:
        assert again.exif == block


def test_profiles_that_do_not_fit_are_dropped_with_a_note() -> None:
    grey = Image.new("L", (4, 4))
    assert read(file(grey, icc_profile=gray_profile())).icc == gray_profile()
    wrong = read(file(grey, "JPEG", icc_profile=SRGB))
    assert wrong.icc is None
    assert "does not fit" in wrong.notes[0]


@pytest.mark.parametrize("form", sorted(pliant_image.FORMATS))
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_format_takes_every_layout(form: str, channels: int, tmp_path: Path) -> None:
    picture = read(pixels(6, 9, channels, seed=channels))
    path = tmp_path / f"a.{form}"
    modes = pliant_image.FORMATS[form].modes
    if picture.alpha is not None and "RGBA" not in modes:
        with pytest.raises(UsageError, match="transparency"):
            save(picture, path)
        assert not path.exists()
        opaque = Picture(picture.pixels, np.full_like(picture.alpha, 255))
        assert "opaque" in save(opaque, path)[0]
    else:
        assert save(picture, path) == ()
    again = read(path)
    assert again.pixels.shape[:2] == (6, 9)
    if form not in ("jpg", "avif"):
        assert np.array_equal(
            np.broadcast_to(picture.pixels, again.pixels.shape)[..., :1], again.pixels[..., :1]
        )
    assert (again.alpha is not None) == (picture.alpha is not None and "RGBA" in modes)


def test_lost_metadata_is_named(tmp_path: Path) -> None:
    picture = Picture(pixels(3, 3), None, SRGB, b"II*\0" + bytes(70_000), XMP)
    assert save(picture, io.BytesIO(), "ppm") == (
        "ppm cannot hold the ICC profile, EXIF, XMP of this image; left out",
    )
    assert save(picture, io.BytesIO(), "jpg") == (
        "jpg cannot hold the EXIF of this image; left out",
    )
    grey = Picture(pixels(3, 3, 1), None, gray_profile())
    assert "ICC profile" in save(grey, io.BytesIO(), "webp")[0]


def test_unknown_and_missing_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture(pixels(3, 3))
    for name in ("a.xyz", "a", "a.pli"):
        with pytest.raises(UsageError, match="known formats are png"):
            save(picture, tmp_path / name)
    with pytest.raises(UsageError, match="cannot be written as webp"):
        save(Picture(np.zeros((1, 20000, 3), np.uint8)), tmp_path / "a.webp")
    Image.init()
    monkeypatch.delitem(Image.SAVE, "AVIF")
    with pytest.raises(MissingError, match="AVIF"):
        save(picture, tmp_path / "a.avif")
    assert not list(tmp_path.iterdir())


def test_unreadable_content_is_damage() -> None:
    data = file(Image.fromarray(pixels(40, 40)))
    for wrong in (b"", b"text", data[:200], data[:30], data[:60] + b"\0" * 40 + data[100:]):
        with pytest.raises(DamagedError):
            read(wrong)
    with pytest.raises(UsageError, match="already a Pliant file"):
        read(b"PLI\1...")
    with pytest.raises(FileNotFoundError):
        read("no such file")
    with pytest.raises(UsageError, match="int"):
        read(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError("cut\noff"), "cut off"),
        (SyntaxError("no chunk"), "no chunk"),
        (ValueError(), "its data are damaged"),
        (KeyError(7), "its data are damaged"),
        (struct.error("unpack requires a buffer"), "its data are damaged"),
    ],
)
@pytest.mark.parametrize("owner", ["Image.open", "ImageFile.ImageFile.load"])
def test_whatever_pillow_raises_is_one_sentence(
    owner: str, error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise error

    data = file(Image.new("RGB", (4, 4)))
    monkeypatch.setattr(f"PIL.{owner}", broken)
    with pytest.raises(DamagedError, match=f"^the image cannot be decoded: {sentence}$"):
        read(data)


def test_a_header_that_pillow_stumbles_over_is_damage() -> None:
    with pytest.raises(DamagedError):
        read(b"P6 2jjPhooP999999999 7 255 ")


def test_a_file_that_cannot_be_read_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Image, "open", refused)
    with pytest.raises(OSError, match="Input/output"):
        read(b"any")


def test_limits_on_input(monkeypatch: pytest.MonkeyPatch) -> None:
    data = file(Image.new("RGB", (20, 20)))
    for source in (data, Image.new("RGB", (20, 20)), pixels(20, 20), Picture(pixels(20, 20))):
        with pytest.raises(LimitError, match="399"):
            read(source, Limits(pixels=399))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(LimitError, match="Pillow refuses"):
        read(data)


@pytest.mark.parametrize(
    ("array", "alpha"),
    [
        (pixels(2, 2, 4), None),
        (pixels(2, 2).astype(np.int16), None),
        (pixels(2, 2), pixels(2, 3)[..., 0]),
        (pixels(2, 2), pixels(2, 2)[..., 0] > 5),
        (np.zeros((0, 2, 3), np.uint8), None),
    ],
)
def test_pictures_that_do_not_fit_together(array: Any, alpha: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|at least"):
        Picture(array, alpha)
