"""Codecs behind one interface: round trips, names, what users may write, what Pillow writes."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pliant.errors import MissingError, PliantError, UsageError
from pliant.evaluation import codecs, metrics
from pliant.evaluation.codecs import ImageCodec, spec, vvc
from pliant.evaluation.codecs.table import FAMILIES
from pliant.evaluation.metrics import Pixels

NAMES = (*codecs.RIVALS, "pliant")


@pytest.fixture(params=NAMES)
def codec(request: pytest.FixtureRequest) -> ImageCodec:
    """Every codec that can run here, without a process of its own for Pliant."""
    try:
        return codecs.find(request.param, separate_decoder=False)
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def small(photos: dict[str, Pixels]) -> Pixels:
    """Part of a photo, (64, 96, 3)."""
    return np.ascontiguousarray(photos["astronaut"][60:124, 180:276])


def found(name: str) -> ImageCodec:
    try:
        return codecs.find(name)
    except MissingError as error:
        pytest.skip(str(error))


def written(pixels: Pixels, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_, **options)
    return buffer.getvalue()


# --- round trips --------------------------------------------------------------------------------


def test_quality_raises_bytes_and_psnr(codec: ImageCodec, small: Pixels) -> None:
    middle = len(codec.qualities) // 2
    files = [codec.encode(small, codec.qualities[place]) for place in (2, middle, -1)]
    psnr = [metrics.psnr(small, codec.decode(file)) for file in files]
    assert len(files[0]) < len(files[1]) < len(files[2])
    assert psnr[0] < psnr[1] < psnr[2]
    assert psnr[0] > 13
    assert psnr[2] > 35


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (2, 50)])
def test_any_size_comes_back(codec: ImageCodec, size: tuple[int, int], small: Pixels) -> None:
    pixels = small[: size[0], : size[1]]
    decoded = codec.decode(codec.encode(pixels, codec.qualities[-1]))
    assert decoded.shape == pixels.shape
    assert decoded.dtype == np.uint8
    # The headers of JPEG 2000 count against its rate.
    assert metrics.psnr(pixels, decoded) > (20 if codec.name == "jpeg2000" else 30)


def test_grey_stays_grey(codec: ImageCodec, small: Pixels) -> None:
    grey = np.repeat(small[..., 1:2], 3, axis=2)
    decoded = codec.decode(codec.encode(grey, codec.qualities[-1])).astype(int)
    assert np.abs(decoded - decoded.mean(2, keepdims=True)).mean() < 2


def test_the_ends_of_the_search_work(codec: ImageCodec, small: Pixels) -> None:
    assert list(codec.search) == sorted(codec.search)
    assert set(codec.qualities) <= set(codec.search) or codec.name in ("jpeg2000", "pliant")
    least, most = (codec.encode(small, codec.search[end]) for end in (0, -1))
    assert len(least) < len(most)
    assert codec.decode(least).shape == codec.decode(most).shape == small.shape


def test_what_a_codec_says_about_itself(codec: ImageCodec) -> None:
    assert re.search(r"\d+\.\d+", codec.version)
    assert codec.colour.endswith(".")
    assert codec.extension.isalnum()
    assert codec.threads == 1
    assert not codec.timing_only
    assert codec.name == codecs.find(codec.name).name


@pytest.mark.parametrize(
    "name, format_, quality, options",
    [
        ("jpeg", "JPEG", 40, {"subsampling": "4:2:0", "optimize": True}),
        ("jpeg-444", "JPEG", 40, {"subsampling": "4:4:4", "optimize": True}),
        ("webp", "WEBP", 30, {"method": 6}),
        ("webp@method=2", "WEBP", 30, {"method": 2}),
        ("avif-444", "AVIF", 50, {"subsampling": "4:4:4", "speed": 6}),
        ("avif@speed=9", "AVIF", 50, {"subsampling": "4:2:0", "speed": 9}),
        ("avif-444-psnr", "AVIF", 50, {"subsampling": "4:4:4", "advanced": {"tune": "psnr"}}),
    ],
)
def test_files_are_those_of_pillow(
    name: str, format_: str, quality: int, options: dict[str, object], small: Pixels
) -> None:
    codec = found(name)
    file = codec.encode(small, quality)
    threads = {"max_threads": 1} if format_ == "AVIF" else {}
    assert file == written(small, format_, quality=quality, **options, **threads)
    expected = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    np.testing.assert_array_equal(codec.decode(file), expected)


def test_jpeg2000_meets_its_rate(photo: Pixels) -> None:
    file = found("jpeg2000").encode(photo, 1.0)
    assert 8 * len(file) / (photo.shape[0] * photo.shape[1]) == pytest.approx(1.0, rel=0.02)


def test_heic_describes_its_colours(small: Pixels) -> None:
    codec = found("heic")
    import pillow_heif

    info = pillow_heif.open_heif(codec.encode(small, 50)).info
    assert info["nclx_profile"]["matrix_coefficients"] == 6  # BT.601
    assert info["nclx_profile"]["full_range_flag"] == 1
    assert info["chroma"] == 420


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written_as, name",
    [
        ("jpeg", "jpeg-420"),
        ("jpeg@subsampling=4:4:4", "jpeg-444"),
        ("jpeg@subsampling=422,30,50", "jpeg@subsampling=422"),
        ("webp@method=6", "webp"),
        ("webp@method=4,20", "webp@method=4"),
        ("avif", "avif-420"),
        ("avif@tune=psnr,subsampling=444,30,50", "avif-444-psnr"),
        ("avif-444@tune=psnr", "avif-444-psnr"),
        ("avif-444-psnr@tune=default", "avif-444"),
        ("avif@tune=psnr,speed=8", "avif@speed=8,tune=psnr"),
        ("avif-420@speed=8,tune=psnr", "avif@speed=8,tune=psnr"),
        ("jxl@effort=3", "jxl@effort=3"),
        ("heic", "heic-420"),
        ("heic@subsampling=444", "heic-444"),
        ("vvc@preset=medium", "vvc@preset=medium"),
        ("pliant:default@40", "pliant"),
    ],
)
def test_equal_settings_have_one_name(written_as: str, name: str) -> None:
    assert found(written_as).name == name
    assert found(name).name == name


def test_qualities_replace_the_default_list() -> None:
    assert codecs.find("jpeg@50,30,50").qualities == (30, 50)
    assert codecs.find("jpeg2000@0.33").qualities == (0.33,)
    assert codecs.find("jpeg").qualities == FAMILIES["jpeg"].qualities


def test_options_are_separated_from_qualities() -> None:
    parsed = spec.parse("avif:x@speed=6,30,weights=a=b@c:d,10.5,30")
    assert (parsed.name, parsed.model) == ("avif", "x")
    assert parsed.options == {"speed": "6", "weights": "a=b@c:d"}
    assert parsed.qualities == (10.5, 30)


@pytest.mark.parametrize(
    "text, words",
    [
        ("gif", ["'gif'", "jpeg-420", "avif", "pliant", "compressai"]),
        ("jpeg:large", ["jpeg has no models"]),
        ("jpeg@method=4", ["'method'", "subsampling"]),
        ("jpeg2000@speed=4", ["'speed'", "none"]),
        ("jpeg@subsampling=440", ["'440'", "420, 422, 444"]),
        ("avif@speed=11", ["speed", "'11'", "10"]),
        ("jpeg@fine", ["'fine'", "KEY=VALUE"]),
        ("jpeg@", ["''", "KEY=VALUE"]),
        ("avif@speed=6,speed=7", ["speed twice"]),
        ("jpeg@101", ["101", "0 to 100"]),
        ("webp@30.5", ["30.5", "whole steps"]),
        ("jpeg2000@nan", ["nan"]),
        ("jpeg2000@0", ["0.02 to 20"]),
        ("pliant:nothing", ["'nothing'"]),
        ("compressai", ["mbt2018-mean", "cheng2020-attn"]),
        ("compressai:elic", ["'elic'", "mbt2018-mean"]),
    ],
)
def test_errors_name_what_exists(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        codecs.find(text)
    for word in words:
        assert word in str(caught.value)


def test_threads_reach_those_that_can_use_them() -> None:
    assert codecs.find("avif", threads=3).threads == 3
    assert codecs.find("jpeg", threads=3).threads == 1


# --- what is installed --------------------------------------------------------------------------


def test_available_lists_every_codec() -> None:
    rows = {name: (label, reason) for name, label, reason in codecs.available()}
    assert [name for name in rows if not name.startswith("compressai:")] == list(NAMES)
    assert rows["jpeg-420"] == ("JPEG 4:2:0", None)
    assert len([name for name in rows if name.startswith("compressai:")]) == 6
    for name, (label, reason) in rows.items():
        if reason is None and not name.startswith("compressai:"):
            assert codecs.find(name).label == label


@pytest.mark.parametrize(
    "name, module, package",
    [
        ("jxl", "imagecodecs", "imagecodecs"),
        ("heic-444", "pillow_heif", "pillow-heif"),
        ("vvc", "imageio_ffmpeg", "imageio-ffmpeg"),
    ],
)
def test_a_missing_package_is_one_sentence(
    name: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    reasons = {row[0]: row[2] for row in codecs.available()}
    with pytest.raises(MissingError) as caught:
        codecs.find(name)
    assert reasons[name] == str(caught.value)
    assert str(caught.value).endswith(f"needs {package}: pip install 'pliant[eval]'")
    assert reasons["jpeg-420"] is None


def test_a_model_without_weights_is_told_before_the_work() -> None:
    with pytest.raises(MissingError, match="weights of the model msinn-8 are not installed"):
        codecs.find("pliant:msinn-8")


def test_pillow_without_a_format_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import features

    monkeypatch.setattr(features, "check", lambda feature: feature != "avif")
    with pytest.raises(MissingError, match="AVIF needs a Pillow"):
        codecs.find("avif-444")
    assert codecs.find("jpeg").name == "jpeg-420"


def test_importing_the_table_loads_no_optional_package() -> None:
    code = (
        "import sys; from pliant.evaluation import codecs; codecs.available(); "
        "bad = {'torch', 'imagecodecs', 'pillow_heif', 'compressai'} & sys.modules.keys(); "
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- VVC ----------------------------------------------------------------------------------------


def test_vvc_colours_are_those_of_jpeg(small: Pixels) -> None:
    """Pillow's YCbCr is the same conversion, cut to 8 bits."""
    height, width = small.shape[:2]
    samples = np.frombuffer(vvc.to_planes(small), "<u2").astype(float)
    luma = samples[: height * width].reshape(height, width)
    cb, cr = samples[height * width :].reshape(2, height // 2, width // 2)
    ycbcr = np.asarray(Image.fromarray(small).convert("YCbCr"), float)
    blocks = ycbcr.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    for ours, theirs in (
        (luma, ycbcr[..., 0]),
        (cb - 512, blocks[..., 1] - 128),
        (cr - 512, blocks[..., 2] - 128),
    ):
        assert np.abs(ours * 255 / 1023 - theirs).max() < 1.3


def test_vvc_colours_come_back() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 3)).astype(np.uint8)
    flat = np.repeat(np.repeat(colours[None], 4, axis=0), 8, axis=1)
    decoded = vvc.from_planes(vvc.to_planes(flat), *flat.shape[:2])
    # The inner columns of each stripe, which no neighbour's chroma reaches.
    np.testing.assert_array_equal(decoded[:, 3::8], flat[:, 3::8])
    ramp = np.linspace(0, 255, 64).round().astype(np.uint8)
    grey = np.repeat(np.tile(ramp, (2, 1))[..., None], 3, axis=2)
    np.testing.assert_array_equal(vvc.from_planes(vvc.to_planes(grey), 2, 64), grey)


def test_vvc_files_are_plain_streams_with_their_colours(small: Pixels) -> None:
    codec = found("vvc")
    import imageio_ffmpeg

    stream = codec.encode(small, 30)
    assert stream.startswith(b"\0\0\0\1")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-f", "vvc", "-i", "-"]
    told = subprocess.run(command, input=stream, capture_output=True, check=False).stderr
    assert b"yuv420p10le(pc, smpte170m/bt709/iec61966-2-1), 96x64" in told
    odd = codec.encode(small[:63, :95], 30)
    assert odd.startswith(bytes([95, 0, 63, 0, 0, 0, 0, 1]))


def test_vvc_tells_what_ffmpeg_says() -> None:
    with pytest.raises(PliantError, match="ffmpeg"):
        found("vvc").decode(b"\0\0\0\1 not a stream")
