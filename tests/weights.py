"""Whether the shipped weights are installed; tests that need them are skipped otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

import pliant

INDEX = Path(pliant.__file__).parent / "models" / "weights" / "index.json"
needs_weights = pytest.mark.skipif(not INDEX.exists(), reason="no weights are installed")
