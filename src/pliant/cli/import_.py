"""``pliant import``: a checkpoint, of a run or of CompressAI, becomes a model for ``--model``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pliant import imported
from pliant.cli import arguments
from pliant.cli.console import Console

_EXTENSION = re.compile(r"(\.(pth|pt|ckpt|tar))*$")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "import",
        help="make a model of a checkpoint",
        description="Read a checkpoint of pliant train or of CompressAI's zoo, without running code"
        " in it, and keep it as a model that encode --model and decode know.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint",
        type=arguments.name,
        metavar="CHECKPOINT",
        help=".pth.tar file, or .pt of a run",
    )
    parser.add_argument(
        "--model",
        metavar="TRAINED",
        help="the checkpoint is of pliant train and of this model (default: as the recipe.json"
        " beside it says)",
    )
    parser.add_argument("--name", help="of the model (default: that of the file)")
    parser.add_argument(
        "-o",
        "--output",
        type=arguments.name,
        metavar="DIR",
        help=f"folder of imported models (default ${imported.VARIABLE}, else the user's data)",
    )
    parser.add_argument("--force", action="store_true", help="replace the model of that name")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Import the checkpoint and return 0; errors are raised."""
    from pliant.models import importing
    from pliant.training import checkpoint, export

    path = Path(args.checkpoint)
    name = args.name or _EXTENSION.sub("", path.name)
    folder = Path(args.output) if args.output else imported.folder()
    importing.check_name(name, folder, args.force)
    ours = args.model or checkpoint.recipe_beside(path)
    found = export.read(path, args.model or "") if ours else importing.read(path)
    record = importing.install(found, name, folder, args.force)
    parameters = sum(p.numel() for p in found.model.parameters())
    facts = {
        "input": args.checkpoint,
        "name": name,
        "id": record.sha256[:8],
        "architecture": found.architecture,
        "parameters": parameters,
        "weights": str(folder / record.file),
        "sha256": record.sha256,
    }
    text = f"{name}: {found.architecture}, {parameters:,} parameters, id {record.sha256[:8]}"
    console.result(facts, f"{args.checkpoint} → {text}")
    if args.output and folder.resolve() != imported.folder().resolve():
        console.note(f"set {imported.VARIABLE}={args.output} to use it")
    return 0
