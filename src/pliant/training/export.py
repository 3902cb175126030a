"""Puts the averaged weights of runs into the package.

`python -m pliant.training.export NAME CHECKPOINT [--restore CHECKPOINT]`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pliant.errors import PliantError
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.training.checkpoint import RESTORATION, load_part, load_weights, read_checkpoint

PARTS = {"restore": RESTORATION}


def assemble(name: str, checkpoints: Sequence[Path], **parts: Path | None) -> ImageModel:
    """The model `name` with the averaged weights of `checkpoints`; later ones override earlier.

    Args:
        name: of the model.
        checkpoints: whole models.
        parts: checkpoints from which only one part is taken, by the names of `PARTS`.

    Raises:
        UsageError: a checkpoint is missing or does not fit.
    """
    model = registry.build(name)
    for path in checkpoints:
        load_weights(model, read_checkpoint(path)["average"])
    for part, chosen in parts.items():
        if chosen is not None:
            load_part(model, read_checkpoint(chosen)["average"], PARTS[part])
    return model


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes weights and index; the model's id changes, so older files need the older package."""
    parser = argparse.ArgumentParser(prog="python -m pliant.training.export", description=__doc__)
    parser.add_argument("name", help="model of the registry")
    parser.add_argument("checkpoints", nargs="+", type=Path, help="later ones override earlier")
    parser.add_argument("--restore", type=Path, help="checkpoint of the restoration network")
    chosen = parser.parse_args(arguments)
    try:
        model = assemble(chosen.name, chosen.checkpoints, restore=chosen.restore)
        digest = registry.install(model, chosen.name)
    except PliantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{chosen.name}: {digest[:8]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
