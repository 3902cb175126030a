"""Writes tests/golden: files of the shipped model, and what they must decode to.

    python tests/make_golden.py

Needs scikit-image. Run it only when the format or the default model changes on purpose; that takes
a line in CHANGELOG.md.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import pliant
from pliant.codec import Codec
from pliant.picture import Picture

FOLDER = Path(__file__).with_name("golden")


def pictures() -> dict[str, tuple[Picture, dict[str, Any]]]:
    """Small pictures of every channel layout, and the target of each."""
    from skimage import data

    face = data.astronaut()[20:183, 150:307]
    cup = np.asarray(data.coffee())[80:208, 200:392]
    alpha = np.clip(np.hypot(*np.mgrid[-64:64, -96:96]) * 4 - 100, 0, 255).astype(np.uint8)
    return {
        "low": (Picture(face), {"quality": 10}),
        "high": (Picture(face), {"quality": 92}),
        "budget": (Picture(cup), {"size": 4000}),
        "alpha": (Picture(cup, alpha), {"quality": 45}),
        "grey": (Picture(data.camera()[100:220, 200:333, None]), {"quality": 60}),
        "dot": (Picture(face[:1, :1]), {"quality": 50}),
    }


def symbols_crc(codec: Codec, content: bytes) -> int:
    """CRC-32 of all symbols, coarse first, as little-endian 32-bit integers."""
    crc = 0
    for latent in codec.decode_symbols(content):
        crc = zlib.crc32(latent.cpu().numpy().astype("<i4").tobytes(), crc)
    return crc


def main() -> None:
    """Writes every file, its picture as PNG, and the index."""
    codec = pliant.load()
    index = {}
    FOLDER.mkdir(exist_ok=True)
    for name, (picture, target) in pictures().items():
        content = codec.encode(picture, **target)
        (FOLDER / f"{name}.pli").write_bytes(content)
        decoded = codec.decode(content)
        pixels = decoded.pixels
        if decoded.alpha is not None:
            pixels = np.concatenate([pixels, decoded.alpha[..., None]], 2)
        Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(
            FOLDER / f"{name}.png", optimize=True
        )
        index[name] = {"bytes": len(content), "symbols": symbols_crc(codec, content)}
    (FOLDER / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
