"""Puts the averaged weights of a run into the package.

`python -m pliant.training.export NAME CHECKPOINT`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pliant.errors import PliantError
from pliant.models import registry
from pliant.training.checkpoint import load_average


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes weights and index; the model's id changes, so older files need the older package."""
    parser = argparse.ArgumentParser(prog="python -m pliant.training.export", description=__doc__)
    parser.add_argument("name", help="model of the registry")
    parser.add_argument("checkpoint", type=Path, help="checkpoint or snapshot of a run")
    chosen = parser.parse_args(arguments)
    try:
        model = registry.build(chosen.name)
        load_average(model, chosen.checkpoint)
        model.settle()
        digest = registry.install(model, chosen.name)
    except PliantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{chosen.name}: {digest[:8]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
