"""Files that were written once decode to the same symbols, and to the same pixels within 1."""

from __future__ import annotations

import json

import numpy as np
import pytest
from make_golden import FOLDER, symbols_crc
from PIL import Image

import pliant

INDEX = json.loads((FOLDER / "index.json").read_text())


@pytest.mark.parametrize("name", INDEX)
def test_a_golden_file_decodes(name: str) -> None:
    content = (FOLDER / f"{name}.pli").read_bytes()
    assert len(content) == INDEX[name]["bytes"]
    assert symbols_crc(pliant.load(), content) == INDEX[name]["symbols"]
    decoded = np.asarray(pliant.decode(content), np.int16)
    with Image.open(FOLDER / f"{name}.png") as image:
        expected = np.asarray(image, np.int16)
    assert decoded.shape == expected.shape
    assert np.abs(decoded - expected).max() <= 1
