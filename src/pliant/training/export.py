"""Puts the averaged weights of a run into the package: `python -m pliant.training.export NAME CHECKPOINT`."""

from __future__ import annotations

import sys
from pathlib import Path

from pliant.models import registry
from pliant.training.loop import load_average


def main(name: str, checkpoint: str) -> None:
    """Writes weights and index; the model's id changes, so older files need the older package."""
    model = registry.build(name)
    load_average(model, Path(checkpoint))
    digest = registry.install(model, name)
    print(f"{name}: {digest[:8]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
