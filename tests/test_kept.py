"""Kept files are read back only while they are those of their rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_rows import rows

from pliant.errors import PliantError
from pliant.evaluation import codecs, kept
from pliant.evaluation.metrics import Pixels


def test_the_file_of_a_row_and_no_other(tmp_path: Path, photo: Pixels) -> None:
    codec = codecs.find("jpeg-420")
    data = codec.encode(photo, 50)
    (tmp_path / "a.jpg").write_bytes(data)
    row = replace(rows("jpeg-420", "a.png", 1.0)[0], file="a.jpg", bytes=len(data))
    assert kept.has_file(tmp_path, row)
    np.testing.assert_array_equal(kept.decode(tmp_path, row), codec.decode(data))
    for stale in (replace(row, bytes=1), replace(row, file=""), replace(row, file="b.jpg")):
        assert not kept.has_file(tmp_path, stale)
        with pytest.raises(PliantError, match=r"a\.png at 1 is not there"):
            kept.decode(tmp_path, stale)
