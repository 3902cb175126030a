"""``pliant data``: public test sets, from where they are published into a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pliant.cli import arguments
from pliant.cli.console import Console
from pliant.errors import UsageError

if TYPE_CHECKING:
    from pliant.evaluation.datasets import Dataset, File


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "data",
        help="download a public test set",
        description="Download a public test set into a folder. Every file is checked; what is"
        " there already is not loaded again, and what was cut off goes on where it was.",
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the set, see --list")
    parser.add_argument(
        "folder", nargs="?", type=arguments.name, metavar="DIR", help="made when it is missing"
    )
    parser.add_argument("--list", action="store_true", help="print the sets and their terms")
    parser.add_argument("--force", action="store_true", help="replace other files of these names")
    arguments.add_report_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """List the sets, or load one and return 0; errors are raised."""
    from pliant.evaluation import datasets

    if args.list:
        for dataset in datasets.DATASETS:
            console.data(_record(dataset), _text(dataset))
        return 0
    if args.name is None or args.folder is None:
        raise UsageError("name a set and a folder, or use --list")
    dataset = datasets.find(args.name)
    console.note(_text(dataset))
    for file in console.progress(dataset.files):
        _load(file, Path(args.folder), console, force=args.force)
    return 0


def _load(file: File, folder: Path, console: Console, *, force: bool) -> None:
    from pliant.evaluation import datasets

    loaded = datasets.load(file, folder, force=force)
    target = folder / file.name
    what = "loaded and checked" if loaded else "is there and correct"
    record = {"output": str(target), "bytes": target.stat().st_size, "loaded": loaded}
    console.result(record, f"{target}: {what}")


def _record(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "title": dataset.title,
        "source": dataset.source,
        "terms": dataset.terms,
        "checked": dataset.checked,
        "files": len(dataset.files),
    }


def _text(dataset: Dataset) -> str:
    return (
        f"{dataset.name}: {dataset.title}\n"
        f"  from     {dataset.source}\n"
        f"  terms    {dataset.terms}\n"
        f"  checked  {dataset.checked}"
    )
