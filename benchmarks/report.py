"""The committed reports: `pliant eval` with every codec on whole test sets.

    PLIANT_LPIPS_WEIGHTS=FOLDER python benchmarks/report.py --data DATA/kodak --workers 2

Each folder of photos has its run folder in `.cache/evaluation`, so a second call measures only what
is missing. What is new is encoded and timed first, one file at a time; then all workers compute the
metrics. The report goes to `benchmarks/reports/DATE-SET/`: Markdown and the pictures in it, one
HTML page, and the mean curves as JSON in CompressAI's schema, from which `readme.py` makes the
README's table. Without weights, LPIPS and the distances on SqueezeNet's features are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import environment

from pliant.errors import MissingError
from pliant.evaluation import codecs, perceptual, report

CODECS = ("pliant", *codecs.RIVALS)
ANCHOR = "avif-444"
# Of these the report shows best and worst images; of all codecs the page would be twice as large.
CROPPED = ("pliant", "jxl", "vvc")
WITHHELD = ("mcmaster",)  # its authors state no licence, so its pictures are not passed on
METRICS = ("ssimulacra2", "lpips_squeeze")
DISTANCES = ("fd_squeeze", "kd_squeeze")
NEED_WEIGHTS = {"lpips_squeeze", "fd_squeeze", "kd_squeeze"}
MOST_BYTES = 1_500_000  # of a page


def main() -> int:
    """Makes the reports, prints what they weigh, and returns the exit code."""
    arguments = _parser().parse_args()
    if arguments.weights:
        os.environ[perceptual.VARIABLE] = str(arguments.weights.resolve())
    measures = _measures(arguments.metrics, arguments.distances)
    for data in arguments.data:
        run = arguments.runs / data.resolve().name
        command = ["eval", _from_root(data), "-o", _from_root(run)]
        command += [part for name in arguments.codecs for part in ("--codec", name)]
        command += ["--anchor", arguments.anchor]
        if arguments.limit:
            command += ["--limit", str(arguments.limit)]
        workers = ["--workers", str(arguments.workers)]
        shutil.rmtree(run / report.JSON_FOLDER, ignore_errors=True)  # may be of other codecs
        for options in (
            ["--crops", "none", "--quiet"],
            measures + _shown(run, arguments) + workers,
        ):
            code = _pliant([*command, *options])
            if code:
                return code
        folder = arguments.out / f"{arguments.date}-{run.name}"
        print(f"{folder}: {copy(run, folder) / 1e6:.2f} MB in all")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    add = parser.add_argument
    add("--data", type=Path, nargs="+", required=True, help="folders of images, one per report")
    add("--codecs", nargs="+", default=CODECS, help="as for `pliant eval --codec`")
    add("--anchor", default=ANCHOR)
    add("--metrics", nargs="*", default=METRICS, help="besides PSNR, luma PSNR and MS-SSIM")
    add("--distances", nargs="*", default=DISTANCES)
    add("--weights", type=Path, help=f"folder of LPIPS's weights (default ${perceptual.VARIABLE})")
    add("--withhold", nargs="*", default=WITHHELD, help="sets whose pictures are not shown")
    add("--limit", type=int, help="only the first images, to try it")
    add("--workers", type=int, default=os.cpu_count() or 1, help="for the metrics")
    add("--date", default=datetime.now(timezone.utc).strftime("%Y-%m-%d"))
    add("--runs", type=Path, default=environment.ROOT / ".cache" / "evaluation")
    add("--out", type=Path, default=environment.REPORTS)
    return parser


def _measures(metrics: Sequence[str], distances: Sequence[str]) -> list[str]:
    """Options for what is measured besides the default; what lacks weights is told."""
    left_out: set[str] = set()
    try:
        perceptual.find_weights("squeeze")
    except MissingError as error:
        left_out = NEED_WEIGHTS & {*metrics, *distances}
        if left_out:
            print(f"without {', '.join(sorted(left_out))}: {error}", file=sys.stderr)
    found = []
    for option, names in (("--metric", metrics), ("--distance", distances)):
        for name in names:
            found += [] if name in left_out else [option, name]
    return found


def _shown(run: Path, arguments: argparse.Namespace) -> list[str]:
    """Options for the codecs that crops are shown of."""
    measured = {spec.partition("@")[0] for spec in arguments.codecs}
    names = [codec for codec in CROPPED if codec in measured]
    if run.name in arguments.withhold or not names:
        names = ["none"]
    return [part for name in names for part in ("--crops", name)]


def _from_root(path: Path) -> str:
    """As a reader of the report would type it, from the root of the project."""
    return os.path.relpath(path.resolve(), environment.ROOT)


def _pliant(arguments: Sequence[str]) -> int:
    """Runs the program that is installed beside this Python; the report quotes the command."""
    program = Path(sys.executable).with_name("pliant")
    return subprocess.run([program, *arguments], cwd=environment.ROOT, check=False).returncode


def copy(run: Path, folder: Path) -> int:
    """Copies the report of a run, and of its pictures those that it shows; returns the bytes.

    Raises:
        SystemExit: the page is too large to be committed.
    """
    page = (run / report.PAGE).stat().st_size
    if page > MOST_BYTES:
        raise SystemExit(f"{run / report.PAGE} has {page} bytes, more than {MOST_BYTES}")
    text = (run / report.MARKDOWN).read_text(encoding="utf-8")
    names = [report.PAGE, report.MARKDOWN, *re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)]
    names += [f"{report.JSON_FOLDER}/{p.name}" for p in (run / report.JSON_FOLDER).iterdir()]
    shutil.rmtree(folder, ignore_errors=True)
    total = 0
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / name, target)
        total += target.stat().st_size
    return total


if __name__ == "__main__":
    raise SystemExit(main())
