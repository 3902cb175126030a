"""``pliant info``: what .pli files are, in milliseconds and without decoding them."""

from __future__ import annotations

import argparse
from typing import Any

from pliant import summary
from pliant.cli import arguments, batch
from pliant.cli.batch import Job
from pliant.cli.console import Console


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "info",
        help="what .pli files are",
        description="Check the file and print what it is, without decoding it.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "inputs", nargs="+", type=arguments.name, metavar="FILE", help=".pli file, - for stdin"
    )
    arguments.add_report_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the facts of every file and return the exit code."""
    batch.check_inputs(args.inputs)

    def work(job: Job) -> None:
        facts = summary.info(batch.read_pliant(job.source))
        console.data({"input": job.source, **facts}, _text(job.source, facts))

    jobs = [Job(source, "") for source in args.inputs]
    return batch.run(jobs, work, console, None)


def _text(source: str, facts: dict[str, Any]) -> str:
    quality = "" if facts["quality"] is None else f"quality {facts['quality']:.1f}, "
    tiles = f"{facts['tiles']} of {facts['tile_size']} pixels" if facts["tile_size"] else "1"
    extras = [f"{name} {facts[name]} bytes" for name in ("icc", "exif", "xmp") if facts[name]]
    if facts["alpha"] is not None:
        extras.insert(0, f"alpha {facts['alpha']} bytes" if facts["alpha"] else "alpha opaque")
    lines = [
        source,
        f"  image     {facts['width']} × {facts['height']} {facts['layout']}",
        f"  size      {facts['bytes']} bytes, {facts['bpp']:.3f} bpp",
        f"  rate      {quality}rate parameter {facts['rate']}",
        f"  model     {facts['model']}, id {facts['model_id']} (format version {facts['version']})",
        f"  tiles     {tiles}",
        f"  metadata  {', '.join(extras) or 'none'}",
    ]
    if not facts["portable"]:
        lines.append("  not portable: only the machine that wrote the file is sure to decode it")
    return "\n".join(lines)
