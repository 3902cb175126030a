"""``pliant eval``: codecs on a folder of images, to a table and a report."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pliant.cli import arguments
from pliant.cli.console import Console
from pliant.errors import MissingError, PliantError, UsageError

if TYPE_CHECKING:
    from pliant.evaluation.curves import Curve
    from pliant.evaluation.set_distances import SetDistance
    from pliant.evaluation.table import Row

DEFAULT_CODECS = ("pliant", "jpeg", "webp", "avif", "jxl")
DEFAULT_FOLDER = "pliant-eval"
NO_CROPS = "none"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "eval",
        help="compare codecs on a folder of images",
        description="Encode every image with every codec at its qualities, decode the files,"
        " measure, and write a table and a report. The same command goes on where it was stopped.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "images", nargs="?", type=arguments.name, metavar="DIR", help="folder of images"
    )
    parser.add_argument(
        "--codec",
        action="append",
        dest="codecs",
        metavar="NAME[:MODEL][@ITEM,...]",
        help="an item is a quality or KEY=VALUE, as in pliant@20,50 or avif@speed=4; may be"
        f" repeated (default {' '.join(DEFAULT_CODECS)})",
    )
    parser.add_argument("--list", action="store_true", help="print the codecs")
    parser.add_argument(
        "-o",
        "--output",
        type=arguments.name,
        default=DEFAULT_FOLDER,
        metavar="OUT",
        help=f"folder of the table, the files and the report (default {DEFAULT_FOLDER})",
    )
    _add_measures(parser)
    parser.add_argument(
        "--limit", type=arguments.natural, metavar="N", help="only the first N images"
    )
    parser.add_argument(
        "--workers",
        type=arguments.natural,
        default=1,
        metavar="N",
        help="how many rows to work on at a time, each with one thread; more than one disturb the"
        " times (default 1)",
    )
    parser.add_argument("--no-files", action="store_true", help="do not keep the encoded files")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per codec: curve and BD-rates"
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=run)


def _add_measures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        dest="metrics",
        metavar="NAME",
        help="one more metric; may be repeated, and added to a finished run",
    )
    parser.add_argument(
        "--distance",
        action="append",
        default=[],
        dest="distances",
        metavar="NAME",
        help="a distance between all originals and what a codec made of them, such as fd_squeeze;"
        " may be repeated, and added to a finished run",
    )
    parser.add_argument(
        "--anchor", metavar="NAME", help="codec that BD-rates refer to (default: the first)"
    )
    parser.add_argument(
        "--crops",
        action="append",
        metavar="NAME",
        help="codec whose best and worst images the report shows; may be repeated (default: every"
        f" codec; {NO_CROPS}: of no codec, for pictures that must not be passed on)",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Evaluate, report and return the exit code: 1 when anything could not be measured."""
    if args.list:
        return _list(console)
    if args.images is None:
        raise UsageError("name a folder of images, or use --list")
    from pliant.evaluation import report
    from pliant.evaluation.pictures import images_in

    images, folder = Path(args.images), Path(args.output)
    paths = images_in(images)[: args.limit]
    specs = args.codecs or _defaults(console)
    anchor = args.anchor and _among(args.anchor, specs, "anchor")
    shown = args.crops and [_among(n, specs, "crops") for n in args.crops if n != NO_CROPS]
    names = _checked_distances(args, paths)
    failures: list[PliantError] = []

    def failed(error: PliantError) -> None:
        console.error(error)
        failures.append(error)

    try:
        rows = _evaluate(args, specs, paths, folder, console, failed)
        distances = _distances(names, rows, paths, folder, console, failed)
    except KeyboardInterrupt:
        console.note(f"what is finished is in {folder}; the same command goes on from there")
        raise
    measured = [row.codec for row in rows if row.metrics]
    if measured:
        anchor = anchor if anchor in measured else measured[0]
        files = report.write(
            folder, rows, anchor=anchor, images=images, distances=distances, shown=shown
        )
        for record in _records(rows, anchor):
            console.result(record, _text(record))
        console.note(f"{len(rows)} rows of {len(paths)} images → {', '.join(map(str, files))}")
    return PliantError.exit_code if failures else 0


def _evaluate(
    args: argparse.Namespace,
    specs: Sequence[str],
    paths: Sequence[Path],
    folder: Path,
    console: Console,
    failed: Callable[[PliantError], None],
) -> list[Row]:
    from pliant.evaluation.run import DEFAULT_METRICS, evaluate

    with console.bar("row") as progress:
        return evaluate(
            specs,
            paths,
            folder,
            metrics=tuple(dict.fromkeys((*DEFAULT_METRICS, *args.metrics))),
            workers=args.workers,
            keep_files=not args.no_files,
            progress=progress,
            failed=failed,
        )


def _checked_distances(args: argparse.Namespace, paths: Sequence[Path]) -> list[str]:
    """Return the names of the distances; what stands against them is said before the work."""
    names = list(dict.fromkeys(args.distances))
    if names:
        if args.no_files:
            raise UsageError("--distance decodes the kept files, so it cannot go with --no-files")
        from pliant.evaluation import set_distances

        set_distances.check(names, paths)
    return names


def _distances(
    names: Sequence[str],
    rows: Sequence[Row],
    paths: Sequence[Path],
    folder: Path,
    console: Console,
    failed: Callable[[PliantError], None],
) -> list[SetDistance]:
    from pliant.evaluation import set_distances

    if not names:
        return []
    with console.bar("set") as progress:
        return set_distances.compute(rows, paths, folder, names, progress=progress, failed=failed)


def _defaults(console: Console) -> list[str]:
    """Return the default codecs that are available; a note tells about the others."""
    from pliant.evaluation import codecs

    found = []
    for name in DEFAULT_CODECS:
        try:
            codecs.find(name)
        except MissingError as error:
            console.note(f"without {name}: {error}")
        else:
            found.append(name)
    return found


def _among(asked: str, specs: Sequence[str], what: str) -> str:
    """Return the full name of the codec that was asked for; it must be one of the run."""
    from pliant.evaluation import codecs

    names = set()
    for spec in specs:
        with contextlib.suppress(MissingError):  # is reported when the codecs are evaluated
            names.add(codecs.find(spec).name)
    name = codecs.find(asked).name
    if name not in names:
        raise UsageError(
            f"the codec of --{what}, {name}, is not among the codecs: {', '.join(sorted(names))}"
        )
    return name


def _records(rows: Sequence[Row], anchor: str) -> Iterator[dict[str, Any]]:
    """Yield what --json prints: one object per codec."""
    from pliant.evaluation import curves

    whole = curves.complete(curves.measured(rows))
    groups = curves.by_codec(whole)
    comparisons = curves.compare(whole, anchor) if whole else []
    for codec, group in curves.by_codec(rows).items():
        curve = curves.mean_curve(groups[codec]) if codec in groups else None
        yield {
            "codec": codec,
            "version": group[0].version,
            "images": len({row.image for row in groups.get(codec, group)}),
            "curve": curve and _points(curve),
            "encode_seconds": statistics.fmean(row.encode_seconds for row in group),
            "decode_seconds": statistics.fmean(row.decode_seconds for row in group),
            "anchor": anchor,
            "bd_rate": [
                {
                    "metric": entry.metric,
                    "bpp": entry.bpp,
                    "mean_curve": entry.mean_curve and dataclasses.asdict(entry.mean_curve),
                    "mean_of_images": entry.mean_of_images,
                }
                for entry in comparisons
                if entry.codec == codec
            ],
        }


def _points(curve: Curve) -> dict[str, list[float | None]]:
    """Return the columns of a curve; JSON has no infinity, so a lossless PSNR is null."""
    columns = {"quality": curve.quality, "bpp": curve.bpp, **curve.metrics}
    return {
        name: [value if math.isfinite(value) else None for value in values]
        for name, values in columns.items()
    }


def _text(record: dict[str, Any]) -> str:
    times = (
        f"encode {1e3 * record['encode_seconds']:.1f} ms,"
        f" decode {1e3 * record['decode_seconds']:.1f} ms"
    )
    curve = record["curve"]
    if curve is None:
        return f"{record['codec']}: {times}"
    entries = [e for e in record["bd_rate"] if (e["metric"], e["bpp"]) == ("psnr", None)]
    rate = next((e["mean_curve"]["percent"] for e in entries if e["mean_curve"]), None)
    against = "" if rate is None else f"BD-rate {rate:+.1f} % vs {record['anchor']}, "
    return (
        f"{record['codec']}: {curve['bpp'][0]:.2f} to {curve['bpp'][-1]:.2f} bpp, {against}{times}"
    )


def _list(console: Console) -> int:
    """Print every codec, and the sentence why one is not available."""
    from pliant.evaluation import codecs

    for name, title, missing in codecs.available():
        text = f"{name:24} {title}" + (f" (not here: {missing})" if missing else "")
        console.data({"codec": name, "title": title, "missing": missing}, text)
    return 0
