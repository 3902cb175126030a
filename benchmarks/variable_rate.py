"""One model of every rate against one model per rate, on real files.

    python benchmarks/variable_rate.py train ../shared/data/train
    python benchmarks/variable_rate.py measure ../shared/data/kodak ../shared/data/valid

Reproduces Kamisli, Racape and Choi (DCC 2024) on small models: see `docs/reproduce.md`. `train`
runs what `variable_rate_jobs.py` lists, in order, and goes on where it was stopped; several
processes share the work. `measure` makes named models of the finished ones, encodes and decodes
photos with them as `pliant eval` does, and writes BD-rates and a plot.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import environment
import variable_rate_plot
from variable_rate_jobs import JOBS, SYSTEMS, Job, every_rate, single_rate

from pliant.errors import UsageError
from pliant.evaluation.curves import BppRange, Curve, bd_rate, by_codec, mean_curve
from pliant.evaluation.lock import locked
from pliant.evaluation.pictures import images_in
from pliant.evaluation.run import evaluate
from pliant.evaluation.table import Row
from pliant.imported import VARIABLE
from pliant.layers.variable import level_gains, rate_of
from pliant.models import importing
from pliant.rate import to_quality
from pliant.training import export
from pliant.training.checkpoint import read_checkpoint

RUNS = environment.ROOT / "runs" / "variable-rate"
RESULT = environment.RESULTS / "variable-rate.json"
PICTURES = environment.ROOT / "docs" / "images"
SPLIT = 0.5  # bpp, where the published figures are split
RANGES: tuple[BppRange, ...] = (None, (0.01, SPLIT), (SPLIT, 10.0))
CHECKPOINT = "checkpoint.pt"


def main() -> None:
    """Reads the command line and does what it says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("action", choices=("train", "measure"))
    parser.add_argument("data", type=Path, nargs="+", help="folders of photos")
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--threads", type=int, default=0, help="of one training")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="that measure")
    parser.add_argument("--limit", type=int, help="only the first images of a folder")
    parser.add_argument("--only", nargs="*", help="only jobs of these names")
    chosen = parser.parse_args()
    jobs = [job for job in JOBS if not chosen.only or job.name in chosen.only]
    if chosen.action == "train":
        while any(train(job, chosen.data, chosen.runs, chosen.threads) for job in jobs):
            pass  # and look again: what was waiting for these weights may start now
    else:
        measure(jobs, chosen)


def finished(job: Job, runs: Path) -> bool:
    """Whether all steps of a job are done."""
    file = runs / job.name / CHECKPOINT
    if not file.exists():
        return False
    return int(read_checkpoint(file)["step"]) >= int(job.settings["steps"])


def train(job: Job, data: list[Path], runs: Path, threads: int) -> bool:
    """Trains what is not finished, can start, and is not in another process's hands.

    Returns: whether there was something to do.
    """
    folder, start = runs / job.name, runs / job.start / CHECKPOINT
    with contextlib.suppress(UsageError), locked(folder):
        if finished(job, runs) or (job.start and not finished(_named(job.start), runs)):
            return False
        command = [sys.executable, "-m", "pliant", "train", job.recipe, *map(str, data)]
        settings = job.settings | {"threads": str(threads)}
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        command += ["--output", str(folder)]
        command += ["--from", str(start)] if job.start else []
        command += ["--resume"] if (folder / CHECKPOINT).exists() else []
        print(job.name, flush=True)
        with (folder / "out.txt").open("a") as out:
            subprocess.run(command, stdout=out, stderr=out, check=True)
        return True
    return False


def _named(name: str) -> Job:
    return next(job for job in JOBS if job.name == name)


def measure(jobs: list[Job], chosen: argparse.Namespace) -> None:
    """Real files of all finished models on each folder of photos; one result file."""
    models = chosen.runs / "models"
    os.environ[VARIABLE] = str(models.resolve())
    done = [job for job in jobs if finished(job, chosen.runs)]
    for job in done:
        importing.install(export.read(chosen.runs / job.name / CHECKPOINT), job.name, models, True)
    sets = {}
    for data in chosen.data:
        paths = images_in(data)[: chosen.limit]
        folder = chosen.runs / "files" / data.resolve().name
        specs = [_spec(job) for job in done if job.single or job.recipe == "vbr"]
        rows = evaluate(specs, paths, folder, workers=chosen.workers, progress=_progress)
        sets[data.resolve().name] = _compared(by_codec(rows)) | {"photos": len(paths)}
    environment.write(RESULT, {"ranges": RANGES, "sets": sets})
    RESULT.with_suffix(".md").write_text(table(sets))
    for name, found in sets.items():
        title = f"{name}, {found['photos']} photos"
        variable_rate_plot.draw(found["models"], title, PICTURES / f"variable-rate-{name}.png")


def table(sets: dict[str, Any]) -> str:
    """BD-rates of all models as Markdown, a table for each set of photos."""
    lines = ["# One model of every rate against one model per rate", ""]
    lines += ["BD-rate in percent, real files; `python benchmarks/variable_rate.py measure`.", ""]
    for name, found in sets.items():
        lines += [f"## {name}, {found['photos']} photos", ""]
        lines += [f"| model | whole | up to {SPLIT} bpp | above |", "|---|--:|--:|--:|"]
        for model, record in found["models"].items():
            if "bd_rate" in record:
                cells = ["–" if p is None else f"{p:+.2f}" for p in record["bd_rate"]]
                lines.append(f"| {model} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _codec(job: Job) -> str:
    return f"pliant:{job.name}"


def _spec(job: Job) -> str:
    """A single-rate model at its one quality, another at the published levels."""
    gains = [1.0] if job.single else level_gains()
    qualities = ",".join(str(to_quality(rate_of(gain))) for gain in gains)
    return f"{_codec(job)}@{qualities}"


def _progress(done: int, count: int) -> None:
    print(f"\r{done}/{count}", end="" if done < count else "\n", file=sys.stderr, flush=True)


def _compared(rows: dict[str, list[Row]]) -> dict[str, Any]:
    """BD-rates of every model of every rate against those of a single rate of its system."""
    records: dict[str, Any] = {}
    for system in SYSTEMS:
        if any(_codec(job) not in rows for job in single_rate(system)):
            continue
        reference = mean_curve([row for job in single_rate(system) for row in _joined(job, rows)])
        records[f"{system}-single"] = {"curve": _points(reference)}
        for job in every_rate(system):
            if _codec(job) in rows:
                curve = mean_curve(rows[_codec(job)])
                percent = [_percent(reference, curve, limits) for limits in RANGES]
                records[job.name] = {"bd_rate": percent, "curve": _points(curve)}
    return {"models": records}


def _joined(job: Job, rows: dict[str, list[Row]]) -> list[Row]:
    """The rows of a single-rate model as points of one codec."""
    return [replace(row, codec="single", quality=job.single) for row in rows[_codec(job)]]


def _percent(reference: Curve, curve: Curve, limits: BppRange) -> float | None:
    found = bd_rate(reference, curve, limits)
    return round(found.percent, 2) if found else None


def _points(curve: Curve) -> list[list[float]]:
    return [[round(b, 4), round(p, 3)] for b, p in zip(curve.bpp, curve.psnr, strict=True)]


if __name__ == "__main__":
    main()
