"""Trainings that a benchmark compares: run in order, resumed, shared by processes, made models.

A benchmark lists its `Job`s and says how their models are measured; `command` is its command line,
with the actions `train` and `measure`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pliant.errors import UsageError
from pliant.evaluation.curves import BppRange, Curve, bd_rate, by_codec, mean_curve
from pliant.evaluation.lock import locked
from pliant.evaluation.pictures import images_in
from pliant.evaluation.run import evaluate
from pliant.evaluation.table import Row
from pliant.imported import VARIABLE
from pliant.models import importing
from pliant.rate import to_quality
from pliant.training import export
from pliant.training.checkpoint import read_checkpoint

CHECKPOINT = "checkpoint.pt"
LEAST_SHARED = 1.0  # dB of PSNR; less is no comparison of curves


@dataclass(frozen=True)
class Job:
    """One training, or a snapshot of one.

    Attributes:
        name: of its folder, and of its model.
        recipe: of `pliant train`.
        start: name of the job whose weights it starts from, "" for none.
        single: weight of distortion, for a model of one rate that is compared; else 0.
        teacher: name of the job that it learns from, "" for none.
        snapshot: file in the folder of `start`, of which this is the model; nothing is trained.
    """

    name: str
    recipe: str
    start: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    single: float = 0.0
    teacher: str = ""
    snapshot: str = ""

    @property
    def codec(self) -> str:
        """What the evaluation calls its model."""
        return f"pliant:{self.name}"

    def weights(self, runs: Path) -> Path:
        """The file of its weights."""
        return runs / (self.start if self.snapshot else self.name) / (self.snapshot or CHECKPOINT)


Measure = Callable[[Sequence[Job], argparse.Namespace], None]


def command(description: str, jobs: Sequence[Job], runs: Path, measure: Measure) -> None:
    """Reads the command line and does what it says.

    Args:
        description: of the benchmark, whose first line is shown.
        jobs: all of them, in the order of training.
        runs: the folder of their folders, unless the command line names one.
        measure: receives the chosen jobs and the arguments.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("action", choices=("train", "measure"))
    parser.add_argument("data", type=Path, nargs="+", help="folders of photos")
    parser.add_argument("--runs", type=Path, default=runs)
    parser.add_argument("--threads", type=int, default=0, help="of one training")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="that measure")
    parser.add_argument("--limit", type=int, help="only the first images of a folder")
    parser.add_argument("--only", nargs="*", help="only jobs of these names")
    chosen = parser.parse_args()
    wanted = [job for job in jobs if not chosen.only or job.name in chosen.only]
    if chosen.action == "measure":
        measure(wanted, chosen)
        return
    known = {job.name: job for job in jobs}
    while any(train(job, known, chosen.data, chosen.runs, chosen.threads) for job in wanted):
        pass  # and look again: what was waiting for these weights may start now


def finished(job: Job, runs: Path) -> bool:
    """Whether all steps of a job are done."""
    file = job.weights(runs)
    if not file.exists():
        return False
    return bool(job.snapshot) or int(read_checkpoint(file)["step"]) >= int(job.settings["steps"])


def train(job: Job, known: dict[str, Job], data: list[Path], runs: Path, threads: int) -> bool:
    """Trains what is not finished, can start, and is not in another process's hands.

    Args:
        known: all jobs by name.

    Returns: whether there was something to do.
    """
    if job.snapshot:
        return False
    folder = runs / job.name
    with contextlib.suppress(UsageError), locked(folder):
        needed = [known[name] for name in (job.start, job.teacher) if name]
        if finished(job, runs) or not all(finished(other, runs) for other in needed):
            return False
        settings = job.settings | {"threads": str(threads)}
        if job.teacher:
            settings["teacher"] = str(known[job.teacher].weights(runs))
        arguments = [job.recipe, *map(str, data)]
        for key, value in settings.items():
            arguments += ["--set", f"{key}={value}"]
        arguments += ["--output", str(folder)]
        arguments += ["--from", str(known[job.start].weights(runs))] if job.start else []
        arguments += ["--resume"] if (folder / CHECKPOINT).exists() else []
        print(job.name, flush=True)
        with (folder / "out.txt").open("a") as out:
            line = [sys.executable, "-m", "pliant", "train", *arguments]
            subprocess.run(line, stdout=out, stderr=out, check=True)
        return True
    return False


def installed(jobs: Sequence[Job], runs: Path) -> list[Job]:
    """The finished jobs; their models have their names, for this process and its children."""
    models = runs / "models"
    os.environ[VARIABLE] = str(models.resolve())
    done = [job for job in jobs if finished(job, runs)]
    for job in done:
        importing.install(export.read(job.weights(runs)), job.name, models, force=True)
    return done


def photos(data: Path, chosen: argparse.Namespace) -> list[Path]:
    """The images of a folder that the command line asks for."""
    return images_in(data)[: chosen.limit]


def rows_of(
    rates: Sequence[tuple[Job, Sequence[int]]], data: Path, chosen: argparse.Namespace
) -> dict[str, list[Row]]:
    """Real files of models on a folder of photos: rows by the name of the job.

    Args:
        rates: jobs, and the rate parameters that are asked of their models.
        chosen: the command line.
    """
    specs = [f"{job.codec}@{','.join(str(to_quality(r)) for r in own)}" for job, own in rates]
    folder = chosen.runs / "files" / data.resolve().name
    paths = photos(data, chosen)
    found = evaluate(
        specs, paths, folder, metrics=("psnr",), workers=chosen.workers, progress=_progress
    )
    rows = by_codec(found)
    return {job.name: rows[job.codec] for job, _ in rates}


def _progress(done: int, count: int) -> None:
    print(f"\r{done}/{count}", end="" if done < count else "\n", file=sys.stderr, flush=True)


def joined(jobs: Sequence[Job], rows: Mapping[str, Sequence[Row]]) -> Curve:
    """The curve of several models of a single rate: a point for each."""
    return mean_curve(
        [replace(row, codec="single", quality=job.single) for job in jobs for row in rows[job.name]]
    )


def percent(reference: Curve, curve: Curve, limits: BppRange = None) -> float | None:
    """BD-rate in percent over a range of rates; None where the curves share less than 1 dB."""
    found = bd_rate(reference, curve, limits)
    return round(found.percent, 2) if found and found.high - found.low >= LEAST_SHARED else None


def points(curve: Curve) -> list[list[float]]:
    """(bits per pixel, PSNR) for a result file."""
    return [[round(b, 4), round(p, 3)] for b, p in zip(curve.bpp, curve.psnr, strict=True)]
