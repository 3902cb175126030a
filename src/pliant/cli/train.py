"""``pliant train``: trains a model by a named recipe."""

from __future__ import annotations

import argparse

from pliant.cli import arguments
from pliant.cli.console import Console
from pliant.errors import UsageError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "train",
        help="train a model by a recipe",
        description="Train a model on folders of images.",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="name of the recipe")
    parser.add_argument(
        "data", nargs="+", type=arguments.name, metavar="DATA_DIR", help="folders of images"
    )
    parser.add_argument(
        "--minutes", type=arguments.positive, metavar="M", help="end the schedule in time"
    )
    parser.add_argument(
        "--from",
        dest="start",
        type=arguments.name,
        metavar="CHECKPOINT",
        help="start from the weights of another run",
    )
    parser.add_argument(
        "--valid", type=arguments.name, metavar="DIR", help="folder of images for validation"
    )
    parser.add_argument("--output", type=arguments.name, metavar="DIR", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu (default), cuda …")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="change one field of the recipe; may be repeated",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Train and return 0; errors are raised."""
    overrides = dict(_assignment(text) for text in args.overrides)
    given = {"valid": args.valid, "start": args.start}
    from pliant.training import loop

    loop.main(
        args.recipe,
        args.data,
        minutes=args.minutes,
        output=args.output,
        resume=args.resume,
        device=args.device,
        overrides=overrides,
        **{key: value for key, value in given.items() if value},
    )
    return 0


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--set needs KEY=VALUE, not {text!r}")
    return key, value
