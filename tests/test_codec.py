"""The main path with the shipped weights: behaviour, not quality; skipped without weights."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_zoo import loaded
from weights import needs_weights

from pliant import codec, container, tiles
from pliant.container import Container
from pliant.errors import DamagedError, LimitError, MissingError, UsageError
from pliant.layers.exact import RateVector
from pliant.limits import DEFAULT_DEMAND, MACS_PER_PIXEL, Demand
from pliant.models import blocks
from pliant.models.complexity import macs_per_pixel
from pliant.models.memory import bytes_per_pixel
from pliant.picture import Picture
from pliant.units import RATE_MAX

pytestmark = needs_weights


@pytest.fixture(scope="module")
def warm() -> codec.Codec:
    return codec.load()


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "ONE_TILE_PIXELS", 0)
    monkeypatch.setattr(tiles, "TILE_LOG2", 6)


def psnr(first: Any, second: Any) -> float:
    """dB between arrays of 0..255."""
    error = float(np.mean((np.asarray(first, float) - np.asarray(second, float)) ** 2))
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def resealed(data: bytes, **changes: Any) -> bytes:
    """The file with other header fields or other parts, all checksums right."""
    content = container.read(data)
    parts = {key: changes.pop(key) for key in list(changes) if hasattr(content, key)}
    header = replace(content.header, **changes)
    return container.write(replace(content, header=header, **parts))


def waves(height: int, width: int, channels: int = 3) -> Any:
    """A smooth picture, uint8 (height, width, channels)."""
    yy, xx = np.mgrid[:height, :width]
    planes = [128 + 90 * np.sin(xx / 9 + c) * np.cos(yy / 7 - c) for c in range(channels)]
    return np.stack(planes, -1).astype(np.uint8)


@pytest.mark.parametrize(
    "size",
    [(1, 1), (1, 5000), (5000, 1), (17, 33), (63, 63), (64, 64), (65, 65), (63, 65), (2, 127)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_comes_back(warm: codec.Codec, size: tuple[int, int], channels: int) -> None:
    pixels = waves(*size, channels)
    picture = warm.decode(warm.encode(Picture(pixels), quality=90))
    assert picture.pixels.shape == pixels.shape
    assert picture.alpha is None
    assert psnr(picture.pixels, pixels) > 30


def alphas(height: int, width: int) -> dict[str, Any]:
    yy, xx = np.mgrid[:height, :width]
    hole = np.hypot(yy - height / 2, xx - width / 2) > height / 3
    return {
        "opaque": np.full((height, width), 255, np.uint8),
        "constant": np.full((height, width), 7, np.uint8),
        "empty": np.zeros((height, width), np.uint8),
        "soft": ((3 * xx + yy) % 256).astype(np.uint8),
        "mask": (255 * hole).astype(np.uint8),
    }


@pytest.mark.parametrize("kind", ["opaque", "constant", "empty", "soft", "mask"])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_comes_back_exactly(warm: codec.Codec, channels: int, kind: str) -> None:
    pixels, alpha = waves(90, 70, channels), alphas(90, 70)[kind]
    data = warm.encode(Picture(pixels, alpha), quality=90)
    picture = warm.decode(data)
    assert picture.layout == ("LA" if channels == 1 else "RGBA")
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, alpha)
    seen = alpha > 0
    if seen.any():
        assert psnr(picture.pixels[seen], pixels[seen]) > 30
    else:
        assert len(data) < 300


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("size", [(64, 64), (65, 64), (130, 70), (1, 150)])
def test_several_tiles(warm: codec.Codec, photo: Any, size: tuple[int, int]) -> None:
    pixels = photo[: size[0], : size[1]]
    alpha = alphas(*pixels.shape[:2])["soft"] | 1
    data = warm.encode(Picture(pixels, alpha), quality=85)
    header = container.read_header(data)
    assert header.tile_log2 == 6
    assert header.tile_count == -(-pixels.shape[0] // 64) * -(-pixels.shape[1] // 64)
    picture = warm.decode(data)
    assert np.array_equal(picture.alpha, alpha)  # type: ignore[arg-type]
    assert psnr(picture.pixels, pixels) > 28


def test_tiles_change_no_pixel_beyond_their_rounding(
    warm: codec.Codec, photo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No seams: the transform runs over the whole picture, only the contexts end at a tile."""
    pixels = photo[:128, :128]
    whole = warm.decode(warm.encode(pixels, quality=100)).pixels
    monkeypatch.setattr(tiles, "ONE_TILE_PIXELS", 0)
    monkeypatch.setattr(tiles, "TILE_LOG2", 6)
    tiled = warm.decode(warm.encode(pixels, quality=100)).pixels
    assert psnr(whole, tiled) > 40
    assert abs(psnr(whole, pixels) - psnr(tiled, pixels)) < 0.5


def test_blocks_leave_no_seams(
    warm: codec.Codec, photos: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transform in blocks with their surroundings gives what it gives at once."""
    pixels = photos["coffee"][:330, :450]
    rate = RateVector(torch.tensor([100]))
    with torch.inference_mode():
        latents = blocks.analyse(warm.model, pixels, warm.device)
        symbols = [y.round() for y in warm.model.scale(latents, rate)]
        at_once = blocks.synthesise(warm.model, symbols, rate, pixels.shape)
        monkeypatch.setattr(tiles, "ONE_TILE_PIXELS", 0)
        monkeypatch.setattr(blocks, "BLOCK_LOG2", 6)
        monkeypatch.setattr(warm.model.transform, "reach", 128, raising=False)
        for whole, parts in zip(
            latents, blocks.analyse(warm.model, pixels, warm.device), strict=True
        ):
            assert torch.allclose(whole, parts, atol=1e-3)
        found = blocks.synthesise(warm.model, [s.short() for s in symbols], rate, pixels.shape)
    assert np.abs(found.astype(int) - at_once).max() <= 1
    assert (found != at_once).mean() < 1e-3


def test_the_same_input_gives_the_same_bytes(warm: codec.Codec, photo: Any) -> None:
    again = codec.Codec(warm.loaded)
    for target in ({"quality": 70.0}, {"size": 2500}):
        data = warm.encode(photo[:100, :90], **target)
        assert again.encode(photo[:100, :90], **target) == data
        assert np.array_equal(warm.decode(data).pixels, again.decode(data).pixels)


def test_inputs_of_all_kinds_are_the_same_picture(warm: codec.Codec, photo: Any) -> None:
    pixels = photo[:40, :50]
    data = codec.encode(pixels)
    assert data == warm.encode(pixels, quality=50) == warm.encode(Image.fromarray(pixels))
    assert data == warm.encode(Picture(pixels))
    decoded = codec.decode(data)
    assert (decoded.mode, decoded.size) == ("RGB", (50, 40))
    assert np.array_equal(np.asarray(decoded), warm.decode(data).pixels)
    assert codec.model_for(data) is codec.load()


@pytest.mark.parametrize("name", ["exact factorized", "cheng anchor", "msinn"])
def test_what_another_model_takes_is_counted(name: str) -> None:
    model = codec.Codec(loaded(name)).model
    expected = Demand(macs_per_pixel(model)[1], bytes_per_pixel(model), blocks.block_side(model))
    assert codec.Codec(loaded(name)).demand == expected


def test_what_the_default_model_takes_is_known(
    warm: codec.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blocks too; in float32, of machines without the kernels, it takes more memory."""
    assert blocks.block_side(warm.model) == DEFAULT_DEMAND.block_side
    fast, slow = codec.Codec(warm.loaded), codec.Codec(warm.loaded)
    monkeypatch.setattr(warm.model, "dtype", torch.float32)
    assert slow.demand.bytes_per_pixel > DEFAULT_DEMAND.bytes_per_pixel
    monkeypatch.setattr(warm.model, "dtype", torch.uint8)
    assert fast.demand == DEFAULT_DEMAND


@pytest.mark.parametrize("needed", ["operations", "memory"])
def test_a_dearer_model_is_refused(monkeypatch: pytest.MonkeyPatch, needed: str) -> None:
    dear = codec.Codec(loaded("cheng anchor"))
    data = dear.encode(waves(60, 50))
    assert dear.decode(data).pixels.shape == (60, 50, 3)
    pixels = 64 * 64  # padded
    if needed == "memory":
        most = int(dear.demand.bytes_per_pixel * pixels) + 14 * pixels - 1
        monkeypatch.setenv("PLIANT_MAX_MEMORY", str(most))
    else:
        monkeypatch.setenv("PLIANT_MAX_PIXELS", "3000")  # 4 * 64 * 64 * MACS_PER_PIXEL
        vars(dear)["demand"] = Demand(macs_per_pixel=4 * MACS_PER_PIXEL + 1)
    with pytest.raises(LimitError, match=needed):
        dear.decode(data)


def test_metadata_travels_and_does_not_touch_the_picture(warm: codec.Codec) -> None:
    plain = Picture(waves(30, 40))
    exif = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    rich = replace(plain, icc=b"profile" * 50, exif=exif, xmp=b"<x:xmpmeta/>")
    picture = warm.decode(warm.encode(rich))
    assert (picture.icc, picture.exif, picture.xmp) == (rich.icc, rich.exif, rich.xmp)
    assert np.array_equal(picture.pixels, warm.decode(warm.encode(plain)).pixels)


def test_another_model_is_missing(warm: codec.Codec) -> None:
    data = resealed(warm.encode(waves(20, 20)), model_id=b"\xde\xad\xbe\xef")
    for function in (warm.decode, warm.decode_symbols, codec.decode):
        with pytest.raises(MissingError, match="deadbeef") as caught:
            function(data)
        assert caught.value.exit_code == 5


def test_files_say_whether_they_are_portable(
    warm: codec.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = waves(20, 20)
    assert container.read_header(warm.encode(pixels)).portable
    monkeypatch.setattr(warm.model, "portable", False)
    data = warm.encode(pixels)
    assert not container.read_header(data).portable
    assert warm.decode(data).pixels.shape == (20, 20, 3)


@pytest.mark.parametrize("rate", [RATE_MAX + 1, 65535])
def test_rates_out_of_range_are_damage(warm: codec.Codec, rate: int) -> None:
    data = warm.encode(waves(20, 20))
    with pytest.raises(DamagedError, match="rate"):
        warm.decode(resealed(data, rate=rate))


@pytest.mark.parametrize("numbers", [1, 2, 4, 255])
def test_adaptations_of_another_model_are_damage(warm: codec.Codec, numbers: int) -> None:
    data = warm.encode(waves(20, 20))
    with pytest.raises(DamagedError, match="adapt"):
        warm.decode(resealed(data, adaptation=(5,) * numbers))


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (90, 200, 30)])
def test_a_constant_picture_costs_almost_nothing(
    warm: codec.Codec, colour: tuple[int, int, int]
) -> None:
    data = warm.encode(np.full((256, 384, 3), colour, np.uint8), quality=50)
    assert 8 * len(data) / (256 * 384) < 0.02
    assert np.abs(warm.decode(data).pixels.astype(int) - colour).max() <= 4


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_grey_has_no_chroma(warm: codec.Codec, photo: Any, quality: float) -> None:
    grey = np.asarray(Image.fromarray(photo).convert("L"))[..., None]
    data = warm.encode(Picture(grey), quality=quality)
    assert container.read_header(data).layout == "L"
    symbols = warm.decode_symbols(data)
    luma = sum(int((s[:, : s.shape[1] // 3] != 0).sum()) for s in symbols)
    chroma = sum(int((s[:, s.shape[1] // 3 :] != 0).sum()) for s in symbols)
    assert chroma <= luma / 100
    repeated = warm.encode(grey.repeat(3, 2), quality=quality)
    assert abs(len(repeated) - len(data)) <= 2
    assert len(data) < 1.02 * len(warm.encode(photo, quality=quality))


def test_timings_name_every_stage(warm: codec.Codec) -> None:
    encode: dict[str, float] = {}
    decode: dict[str, float] = {}
    data = warm.encode(waves(70, 70), timings=encode)
    warm.decode(data, timings=decode)
    assert encode.keys() == {"pixels", "analysis", "prior and coder"}
    assert decode.keys() == {"prior and coder", "synthesis"}
    assert min(*encode.values(), *decode.values()) > 0
    before = dict(decode)
    warm.decode(data, timings=decode)
    assert all(decode[stage] > before[stage] for stage in decode)


def test_symbols_are_integers_and_decide_the_pixels(warm: codec.Codec, photo: Any) -> None:
    data = warm.encode(photo[:70, :100], quality=60)
    symbols = warm.decode_symbols(data)
    for latent in symbols:
        assert torch.equal(latent, latent.round())
    assert symbols[0].shape == (1, 3, 4, 4)


def stream_of(data: bytes) -> tuple[bytes, ...]:
    return container.read(data).tiles


def test_a_stream_of_another_picture_is_noticed(warm: codec.Codec, photo: Any) -> None:
    """Valid checksums, equal sizes: the symbol hash is bound to the header and to alpha."""
    first = warm.encode(photo[:96, :80], quality=60)
    other = warm.encode(photo[96:192, :80], quality=61)
    with pytest.raises(DamagedError):
        warm.decode(resealed(first, tiles=stream_of(other)))
    soft = Picture(photo[:96, :80], alphas(96, 80)["soft"] | 1)
    mask = Picture(photo[:96, :80], alphas(96, 80)["mask"] | 1)
    first, other = (warm.encode(p, quality=60) for p in (soft, mask))
    for change in ({"tiles": stream_of(other)}, {"alpha": None}, {"alpha": b"\0\x80"}):
        with pytest.raises(DamagedError, match="do not match"):
            warm.decode(resealed(first, **change))


def test_header_fields_that_leave_the_symbols_alone_are_noticed(
    warm: codec.Codec, photo: Any
) -> None:
    data = warm.encode(photo[:96, :80], quality=60)
    rate = container.read_header(data).rate
    changes: list[dict[str, Any]] = [
        {"width": 81}, {"height": 95}, {"layout": "L"}, {"layout": "RGBA"}, {"portable": False},
        {"rate": rate + 1}, {"rate": rate - 1}, {"tile_log2": 7},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(DamagedError):
            warm.decode(resealed(data, **change))


@pytest.mark.usefixtures("small_tiles")
def test_exchanged_tiles_are_noticed(warm: codec.Codec, photo: Any) -> None:
    data = warm.encode(photo[:64, :192], quality=60)
    one, two, three = stream_of(data)
    for order in ((two, one, three), (one, one, three), (three, two, one)):
        with pytest.raises(DamagedError, match="do not match"):
            warm.decode(resealed(data, tiles=order))
    assert warm.decode(resealed(data, tiles=(one, two, three))).pixels.shape == (64, 192, 3)


def test_a_lack_of_memory_is_a_limit(warm: codec.Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    data = warm.encode(waves(20, 20))
    monkeypatch.setattr(warm.model.transform, "analysis", exhausted)
    monkeypatch.setattr(warm.model.transform, "synthesis", exhausted)
    for work in (lambda: warm.encode(waves(20, 20)), lambda: warm.decode(data)):
        with pytest.raises(LimitError, match="not enough memory"):
            work()


def test_limits_come_before_the_work(warm: codec.Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    data = warm.encode(waves(40, 50))
    monkeypatch.setenv("PLIANT_MAX_PIXELS", "1999")
    for function in (warm.decode, warm.decode_symbols, codec.model_for):
        with pytest.raises(LimitError):
            function(data)
    content: Container = container.read(data)
    assert content.header.width == 50


def test_a_picture_is_freed_once_it_is_encoded(
    warm: codec.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Any]] = []
    encoding = codec._Encoding

    def noted(*arguments: Any) -> Any:
        made.append(weakref.ref(one := encoding(*arguments)))
        return one

    monkeypatch.setattr(codec, "_Encoding", noted)
    gc.disable()  # which would find cycles, but counts objects instead of bytes
    try:
        warm.encode(waves(64, 64), size=800)
        assert [one() for one in made] == [None]
    finally:
        gc.enable()


_FORKED = """
import os, numpy as np, pliant, torch
torch.set_num_threads(2)
picture = np.random.default_rng(1).integers(0, 255, (256, 256, 3), np.uint8)
data = pliant.encode(picture)
child = os.fork()
if not child:
    os._exit(0 if pliant.encode(picture) == data and torch.get_num_threads() == 1 else 1)
assert os.waitpid(child, 0)[1] == 0
assert torch.get_num_threads() == 2
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_a_forked_process_does_not_wait_for_threads_that_it_has_not() -> None:
    subprocess.run([sys.executable, "-c", _FORKED], check=True, timeout=120)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="device 'toaster'"):
        codec.load(device="toaster")
