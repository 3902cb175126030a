"""The averaged weights of a run as a model: in the package, or beside it by `pliant import`.

`python -m pliant.training.export NAME CHECKPOINT --photos DATA/train` puts them into the package.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pliant.errors import PliantError, UsageError
from pliant.models import registry
from pliant.models.importing import Found
from pliant.training import table_fit
from pliant.training.checkpoint import load_average, recipe_beside


def read(checkpoint: Path, name: str = "") -> Found:
    """The model in a checkpoint or snapshot of a run.

    Args:
        name: the model of the registry that was trained; "": the one that the run's recipe names.

    Raises:
        UsageError: it is no checkpoint, does not fit, or no recipe lies beside it.
    """
    name = name or str(recipe_beside(checkpoint).get("model", ""))
    if not name:
        raise UsageError(f"{checkpoint} has no recipe beside it: say which model was trained")
    model = registry.build(name)
    load_average(model, checkpoint)
    model.settle()
    return Found(name, {}, model.eval())


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes weights and index; the model's id changes, so older files need the older package."""
    parser = argparse.ArgumentParser(prog="python -m pliant.training.export", description=__doc__)
    parser.add_argument("name", help="model of the registry")
    parser.add_argument("checkpoint", type=Path, help="checkpoint or snapshot of a run")
    parser.add_argument("--photos", nargs="+", help="folders; fit the tables to what is in them")
    chosen = parser.parse_args(arguments)
    try:
        model = read(chosen.checkpoint, chosen.name).model
        tables = table_fit.fitted(model, chosen.photos) if chosen.photos else None
        digest = registry.install(model, chosen.name, tables)
    except PliantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{chosen.name}: {digest[:8]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
