"""``pliant models``: which models are installed, and whether their weights are intact."""

from __future__ import annotations

import argparse
from typing import Any

from pliant.cli.console import Console
from pliant.errors import MissingError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "models",
        help="list the models; verify their weights",
        description="List the models whose weights are here, or check the weights against their"
        " hashes.",
        allow_abbrev=False,
    )
    parser.add_argument("action", nargs="?", choices=["verify"], help="check the weights")
    parser.add_argument(
        "--all", action="store_true", help="also models that are only to be trained"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per model")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print one entry per model; with ``verify``, 5 when the weights of one are wrong."""
    from pliant.models import registry

    if args.action is None:
        for record in registry.describe(untrained=args.all):
            console.data(record, _text(record))
        return 0
    broken = 0
    for record in registry.verify():
        broken += not record["ok"]
        console.data(record, _text(record))
    return MissingError.exit_code if broken else 0


def _text(record: dict[str, Any]) -> str:
    rows = [f"  {key:24} {value}" for key, value in record.items() if key != "name"]
    return "\n".join([record["name"], *rows])
