"""Targets of the encoder: quality, bytes, bits per pixel and dB, met on the shipped model."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_codec import psnr, waves
from weights import needs_weights

from pliant import codec
from pliant.errors import LimitError, UsageError
from pliant.priors import walk

pytestmark = needs_weights


@pytest.fixture(scope="module")
def warm() -> codec.Codec:
    return codec.load()


def test_quality_is_monotone(warm: codec.Codec, photo: Any) -> None:
    pixels = photo[50:146, 100:196]
    files = [warm.encode(pixels, quality=100 * level / 20) for level in range(21)]
    sizes = np.array([len(data) for data in files])
    values = np.array([psnr(warm.decode(data).pixels, pixels) for data in files])
    assert np.diff(sizes).min() > 0
    assert np.diff(values).min() > -0.05
    assert values.argmin() == 0


def test_the_finest_steps_of_quality_seldom_invert(warm: codec.Codec, photo: Any) -> None:
    """And then by less than a hundredth: of a tiny picture, where single symbols count."""
    sizes = [len(warm.encode(photo[90:154, 100:164], quality=40 + k / 4)) for k in range(13)]
    steps = np.diff(sizes)
    assert (steps < 0).sum() <= 3
    assert steps.min() >= -0.01 * sizes[0]
    assert sizes[-1] > 1.1 * sizes[0]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_sizes_are_met(warm: codec.Codec, photo: Any, share: float) -> None:
    pixels = photo[90:186, 100:228]
    low, high = (len(warm.encode(pixels, quality=q)) for q in (0, 100))
    budget = round(low * (high / low) ** share)
    size = len(warm.encode(pixels, size=budget))
    assert 0.97 * budget - 2 <= size <= budget
    bpp = 8 * budget / pixels[..., 0].size
    assert len(warm.encode(pixels, bpp=bpp)) * 8 <= bpp * pixels[..., 0].size


def test_psnr_is_met(warm: codec.Codec, photo: Any) -> None:
    pixels = photo[90:186, 100:228]
    files = (warm.encode(pixels, quality=q) for q in (0, 99.98))
    low, high = (psnr(warm.decode(file).pixels, pixels) for file in files)
    wanted = low + 0.6 * (high - low)
    found = psnr(warm.decode(warm.encode(pixels, psnr=wanted)).pixels, pixels)
    assert wanted <= found < wanted + 0.3
    lossless = warm.encode(pixels, psnr=high + 1)
    assert np.array_equal(warm.decode(lossless).pixels, pixels)
    alone = codec.Codec(replace(warm.loaded, entry=replace(warm.loaded.entry, lossless="")))
    with pytest.raises(LimitError, match=re.escape(f"the best is {high:.2f} dB")):
        alone.encode(pixels, psnr=high + 1)


@pytest.mark.parametrize("size", [(1, 1), (40, 50), (160, 200)])
def test_the_smallest_size_is_named_and_works(
    warm: codec.Codec, photo: Any, size: tuple[int, int]
) -> None:
    pixels = photo[: size[0], : size[1]]
    with pytest.raises(LimitError, match=r"smallest file has \d+ bytes") as caught:
        warm.encode(pixels, size=20)
    smallest = int(re.findall(r"has (\d+) bytes", str(caught.value))[0])
    assert len(warm.encode(pixels, size=smallest)) <= smallest


def test_targets_that_make_no_sense(warm: codec.Codec) -> None:
    pixels = waves(8, 8)
    wrong: list[dict[str, Any]] = [{"quality": 101}, {"quality": 50, "size": 900}, {"bpp": -1}]
    for target in wrong:
        with pytest.raises(UsageError):
            warm.encode(pixels, **target)


def test_the_analysis_runs_once_and_files_are_made_once(
    warm: codec.Codec, photo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def spy(*args: Any, **more: Any) -> Any:
            calls.append(name)
            return function(*args, **more)

        monkeypatch.setattr(owner, name, spy)

    counted(warm.model.transform, "analysis")
    counted(walk, "write")
    targets: list[dict[str, Any]] = [{"size": 3000}, {"bpp": 0.7}, {"psnr": 30}, {"quality": 3}]
    for target in targets:
        calls.clear()
        warm.encode(photo[:128, :192], **target)
        assert calls.count("analysis") == 1
        assert calls.count("write") <= (1 if "quality" in target else 10)
