"""The program as users run it, with the shipped weights; skipped where they are not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pliant
from pliant.cli.main import main

WEIGHTS = list(Path(pliant.__file__).parent.glob("models/weights/*.safetensors"))
pytestmark = pytest.mark.skipif(not WEIGHTS, reason="no weights are installed")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def gradient(width: int, height: int, mode: str) -> Image.Image:
    yy, xx = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(xx / 9), 128 + 90 * np.cos(yy / 7), (xx + yy) % 256]
    image = Image.fromarray(np.stack(waves, -1).astype(np.uint8)).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(((xx + 2 * yy) % 255 + 1).astype(np.uint8)))
    return image


def psnr(first: Image.Image, second: Image.Image) -> float:
    error = np.asarray(first, float) - np.asarray(second, float)
    return float(10 * np.log10(255**2 / max(float(np.mean(error**2)), 1e-9)))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (200, 130)])
def test_round_trip(mode: str, size: tuple[int, int]) -> None:
    original = gradient(*size, mode)
    original.save("a.png")
    assert main(["encode", "a.png", "-q", "90"]) == 0
    assert main(["decode", "a.pli", "-o", "b.png"]) == 0
    with Image.open("b.png") as decoded:
        assert (decoded.mode, decoded.size) == (mode, size)
        colour = "L" if mode in ("L", "LA") else "RGB"
        assert psnr(original.convert(colour), decoded.convert(colour)) > 33
        if mode.endswith("A"):
            assert decoded.getchannel("A").tobytes() == original.getchannel("A").tobytes()


def test_long_thin_image_and_targets(capsys: pytest.CaptureFixture[str]) -> None:
    gradient(1, 5000, "RGB").save("thin.png")
    gradient(160, 120, "RGB").save("a.png")
    assert main(["encode", "thin.png"]) == 0
    assert main(["decode", "thin.pli", "-o", "again.png"]) == 0
    capsys.readouterr()
    assert main(["encode", "a.png", "--json", "--size", "3k"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["bytes"] == os.path.getsize("a.pli") <= 3000
    assert 0 <= record["quality"] <= 100
    assert main(["encode", "a.png", "--force", "--size", "10"]) == 4
    assert main(["encode", "a.png", "--force", "--psnr", "99"]) in (0, 4)


def test_transparent_areas_cost_almost_nothing() -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (256, 256, 4), np.uint8)
    array[..., 3] = 0
    Image.fromarray(array).save("clear.png")
    assert main(["encode", "clear.png"]) == 0
    assert os.path.getsize("clear.pli") < 300


def test_a_fresh_process_decodes_to_stdout() -> None:
    gradient(64, 48, "RGB").save("a.png")
    main(["encode", "a.png", "--quiet"])
    command = [sys.executable, "-m", "pliant", "decode", "a.pli", "-o", "-", "--format", "ppm"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout.startswith(b"P6\n64 48\n255\n")
    assert main(["models", "verify"]) == 0
