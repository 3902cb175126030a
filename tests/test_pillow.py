"""``Image.open`` and ``Image.save`` on .pli files."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_codec
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import pliant
from pliant.container import Header, read
from pliant.errors import DamagedError, LimitError, UsageError
from pliant.header import MAX_SIDE, write_header


@pytest.fixture(autouse=True)
def codec() -> Iterator[None]:
    pliant.register_pillow()
    pliant.register_pillow()
    with fake_codec.installed():
        yield


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_save_and_open(mode: str, tmp_path: Path) -> None:
    original = Image.effect_noise((17, 33), 90).convert(mode)
    if "A" in mode:
        original.putalpha(Image.effect_noise((17, 33), 90))
    path = tmp_path / "a.pli"
    original.save(path, quality=30)
    assert read(path.read_bytes()).header.rate == 300
    with Image.open(path) as opened:
        assert (opened.mode, opened.size, opened.format) == (mode, (17, 33), "PLIANT")
        assert opened.get_format_mimetype() == "image/x-pliant"
        assert np.array_equal(np.asarray(opened), np.asarray(original))
        assert opened.copy().getpixel((3, 3)) == original.getpixel((3, 3))


def test_opening_decodes_nothing_and_imports_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "a.pli"
    Image.new("RGB", (5, 4)).save(path, xmp=b"<x/>")
    code = (
        "import pliant, sys; from PIL import Image; pliant.register_pillow()\n"
        f"image = Image.open({str(path)!r}); image.load = None\n"
        "assert image.size == (5, 4) and image.info['xmp'] == b'<x/>'\n"
        "assert not {'torch', 'pliant.codec'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_metadata_is_kept_replaced_or_dropped() -> None:
    exif = Image.Exif()
    exif[0x010E] = "text"
    exif[0x0112] = 1
    source = io.BytesIO()
    Image.new("RGB", (4, 4)).save(source, "PNG", exif=exif)
    picture = Image.open(source)
    kept, replaced, dropped = io.BytesIO(), io.BytesIO(), io.BytesIO()
    picture.save(kept, "PLIANT")
    picture.save(replaced, "PLIANT", exif=b"Exif\0\0II*\0abcd", xmp="<y/>", icc_profile=b"icc")
    picture.save(dropped, "PLIANT", exif=None, xmp=b"", icc_profile=None)
    assert Image.open(kept).getexif()[0x010E] == "text"
    content = read(replaced.getvalue())
    assert (content.exif, content.xmp, content.icc) == (b"II*\0abcd", b"<y/>", b"icc")
    content = read(dropped.getvalue())
    assert (content.exif, content.xmp, content.icc) == (None, None, None)
    picture.save(kept, "PLIANT", exif=exif)


def test_contradictory_targets_and_unknown_modes() -> None:
    with pytest.raises(UsageError, match="only one of quality, bpp"):
        Image.new("RGB", (4, 4)).save(io.BytesIO(), "PLIANT", quality=3, bpp=1)
    with pytest.raises(UsageError, match="mode F"):
        Image.new("F", (4, 4)).save(io.BytesIO(), "PLIANT")


def test_damage_and_bombs() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PLIANT")
    data = buffer.getvalue()
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(b"PLX" + data[3:]))
    with pytest.raises(DamagedError):
        Image.open(io.BytesIO(data[:12]))
    with pytest.raises(LimitError):
        Image.open(io.BytesIO(write_header(Header(MAX_SIDE, 9, "RGB", b"fake", 1))))
    with pytest.raises(DamagedError), Image.open(io.BytesIO(data[:-1])) as image:
        image.load()


def test_pickled_and_copied_images_have_their_pixels() -> None:
    buffer = io.BytesIO()
    original = Image.effect_noise((17, 33), 90).convert("RGB")
    original.save(buffer, "PLIANT")
    for opened in (Image.open(buffer), Image.open(buffer)):
        for made in (pickle.loads(pickle.dumps(opened)), copy.deepcopy(opened), copy.copy(opened)):
            assert np.array_equal(np.asarray(made), np.asarray(original))
        opened.load()


def test_the_file_is_closed_once_decoded_if_pillow_opened_it(tmp_path: Path) -> None:
    path = tmp_path / "a.pli"
    Image.new("RGB", (5, 4), (7, 8, 9)).save(path)
    opened = Image.open(path)
    own = opened.fp
    assert own is not None
    assert not own.closed
    opened.load()
    assert own.closed
    assert opened.fp is None
    opened.seek(0)
    opened.load()
    assert opened.getpixel((0, 0)) == (7, 8, 9)
    opened.close()
    with path.open("rb") as stream:
        given = Image.open(stream)
        assert given.getpixel((0, 0)) == (7, 8, 9)
        given.close()
        assert not stream.closed
