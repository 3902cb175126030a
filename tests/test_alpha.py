"""The alpha plane: exact, small, and safe to read; colours under it cost nothing."""

from __future__ import annotations

import contextlib
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, features

from pliant import alpha as pliant_alpha
from pliant.alpha import decode_alpha, encode_alpha, fill_transparent
from pliant.errors import DamagedError, LimitError, MissingError


def disc(height: int, width: int, soft: float) -> NDArray[np.uint8]:
    yy, xx = np.mgrid[:height, :width]
    distance = np.hypot(yy - height / 2, xx - width / 2) - min(height, width) / 3
    return np.clip(255 * (0.5 - distance / soft), 0, 255).astype(np.uint8)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)


def check(plane: NDArray[np.uint8]) -> int:
    """Round trip; returns the bytes."""
    data = encode_alpha(plane)
    height, width = plane.shape
    assert np.array_equal(decode_alpha(data, width, height), plane)
    return len(data or b"")


def test_empty_and_constant_planes_are_tiny() -> None:
    assert encode_alpha(np.full((50, 60), 255, np.uint8)) is None
    assert check(np.full((50, 60), 255, np.uint8)) == 0
    assert check(np.zeros((50, 60), np.uint8)) == 2
    assert check(np.full((1, 1), 7, np.uint8)) == 2


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (1, 5000), (20000, 2), (17, 33)])
def test_noise_costs_little_more_than_its_bytes(shape: tuple[int, int]) -> None:
    assert check(noise(*shape)) <= noise(*shape).size * 1.01 + 16


def test_masks_and_soft_edges_are_small() -> None:
    assert check(disc(300, 400, 1e-9)) < 1000
    assert check(disc(300, 400, 6)) < 3000


def test_webp_is_used_where_it_is_smaller_and_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = disc(300, 400, 6)
    data = encode_alpha(plane)
    assert data is not None
    assert data[0] == 2
    monkeypatch.setattr(features, "check", lambda name: False)
    plain = encode_alpha(plane)
    assert plain is not None
    assert plain[0] == 1
    assert np.array_equal(decode_alpha(plain, 400, 300), plane)
    with pytest.raises(MissingError, match="WebP"):
        decode_alpha(data, 400, 300)


def test_a_plane_that_pillow_would_refuse_is_not_webp(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = disc(300, 400, 6)
    webp = encode_alpha(plane)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", plane.size // 4)
    with pytest.raises(LimitError, match="Pillow refuses the alpha channel"):
        decode_alpha(webp, 400, 300)
    monkeypatch.setattr(pliant_alpha, "_WEBP_MAX_PIXELS", plane.size - 1)
    data = encode_alpha(plane)
    assert data is not None
    assert np.array_equal(decode_alpha(data, 400, 300), plane)


def test_wrong_sizes_and_damage_are_refused_at_once() -> None:
    webp = encode_alpha(disc(300, 400, 6))
    assert webp is not None
    huge = bytes((2, 0x2F)) + struct.pack("<I", 16383 | 16383 << 14) + webp[6:]
    bomb = b"\1" + zlib.compress(bytes(50_000_000), 9, wbits=-15)
    started = time.perf_counter()
    for data in (webp, huge, bomb, webp[:4], b"\2", b"\1", b"\1abc", b"\0", b"\0\1\2", b"\3\1"):
        with pytest.raises(DamagedError):
            decode_alpha(data, 40, 30)
    deflated = zlib.compress(bytes(1200), wbits=-15)
    for data in (deflated[:-1], deflated + b"x", zlib.compress(bytes(1199), wbits=-15)):
        with pytest.raises(DamagedError):
            decode_alpha(b"\1" + data, 40, 30)
    assert time.perf_counter() - started < 0.5
    with pytest.raises(DamagedError):
        decode_alpha(webp[: len(webp) // 2], 400, 300)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3), st.binary(max_size=60))
def test_noise_as_code_never_escapes(method: int, body: bytes) -> None:
    for data in (bytes((method,)) + body, bytes((2, 0x2F, 39, 0x40, 7, 0)) + body):
        with contextlib.suppress(DamagedError):
            assert decode_alpha(data, 40, 30).shape == (30, 40)


def test_colours_under_transparency_become_smooth() -> None:
    alpha = disc(200, 300, 4)
    yy, xx = np.mgrid[:200, :300]
    pixels = np.stack([xx // 2, yy, 200 - yy // 2], -1).astype(np.uint8)
    hidden = alpha == 0
    pixels[hidden] = np.random.default_rng(0).integers(0, 256, (hidden.sum(), 3))
    filled = fill_transparent(pixels, alpha)
    assert np.array_equal(filled[~hidden], pixels[~hidden])
    for axis in (0, 1):
        assert np.abs(np.diff(filled.astype(int), axis=axis)).max() <= 8


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (513, 3), (257, 258)])
@pytest.mark.parametrize("channels", [1, 3])
def test_fill_keeps_visible_pixels_at_any_size(shape: tuple[int, int], channels: int) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (*shape, channels), np.uint8)
    alpha = rng.integers(0, 2, shape).astype(np.uint8)
    filled = fill_transparent(pixels, alpha)
    assert np.array_equal(filled[alpha > 0], pixels[alpha > 0])


def test_fill_without_holes_or_without_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert fill_transparent(pixels, None) is pixels
    assert fill_transparent(pixels, np.ones((4, 4), np.uint8)) is pixels
    assert np.ptp(fill_transparent(pixels, np.zeros((4, 4), np.uint8))) == 0


def test_fill_does_not_depend_on_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, alpha = np.repeat(noise(301, 77)[..., None], 3, -1), disc(301, 77, 4)
    whole = fill_transparent(pixels, alpha)
    monkeypatch.setattr(pliant_alpha, "_STRIP", 10)
    assert np.array_equal(fill_transparent(pixels, alpha), whole)
