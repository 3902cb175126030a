"""One model of every rate against one model per rate, on real files.

    python benchmarks/variable_rate.py train DATA/train
    python benchmarks/variable_rate.py measure DATA/kodak
    python benchmarks/variable_rate.py measure DATA/valid --only NAME...

Reproduces Kamisli, Racape and Choi (DCC 2024) on small models: see `docs/reproduce.md`. `train`
runs what `variable_rate_jobs.py` lists, in order, and goes on where it was stopped; several
processes share the work. `measure` makes named models of the finished ones, encodes and decodes
photos with them as `pliant eval` does, and writes BD-rates and a plot; what it found on other sets
of photos before stays.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import environment
import variable_rate_plot
from trainings import Job, command, installed, joined, percent, photos, points, rows_of
from variable_rate_jobs import JOBS, SYSTEMS, every_rate, single_rate

from pliant.evaluation.curves import BppRange, mean_curve
from pliant.evaluation.table import Row
from pliant.layers.variable import level_gains, rate_of

RUNS = environment.ROOT / "runs" / "variable-rate"
RESULT = environment.RESULTS / "variable-rate.json"
PICTURES = environment.ROOT / "docs" / "images"
SPLIT = 0.5  # bpp, where the published figures are split
RANGES: tuple[BppRange, ...] = (None, (0.01, SPLIT), (SPLIT, 10.0))


def measure(jobs: Sequence[Job], chosen: argparse.Namespace) -> None:
    """Real files of all finished models on each folder of photos; one result file."""
    done = installed(jobs, chosen.runs)
    sets = json.loads(RESULT.read_text())["sets"] if RESULT.exists() else {}
    for data in chosen.data:
        rates = [(job, _rates(job)) for job in done if job.single or job.recipe == "vbr"]
        found = _compared(rows_of(rates, data, chosen))
        sets[data.resolve().name] = found | {"photos": len(photos(data, chosen))}
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


def _rates(job: Job) -> list[int]:
    """A single-rate model has one, another those of the published levels."""
    return [rate_of(gain) for gain in ([1.0] if job.single else level_gains())]


def _compared(rows: dict[str, list[Row]]) -> dict[str, Any]:
    """BD-rates of every model of every rate against those of a single rate of its system."""
    records: dict[str, Any] = {}
    for system in SYSTEMS:
        if any(job.name not in rows for job in single_rate(system)):
            continue
        reference = joined(single_rate(system), rows)
        records[f"{system}-single"] = {"curve": points(reference)}
        for job in every_rate(system):
            if job.name in rows:
                curve = mean_curve(rows[job.name])
                found = [percent(reference, curve, limits) for limits in RANGES]
                records[job.name] = {"bd_rate": found, "curve": points(curve)}
    return {"models": records}


if __name__ == "__main__":
    command(__doc__ or "", JOBS, RUNS, measure)
