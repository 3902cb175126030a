"""The two invertible systems, MSINN and ILC, on real files: what each of their ideas is worth.

    python benchmarks/flows.py train ../shared/data/train
    python benchmarks/flows.py measure ../shared/data/kodak ../shared/data/valid

Reproduces Tu et al. (TMM 2025) and Wang et al. (2020) on small models: see `docs/reproduce.md`.
`train` runs what `flow_jobs.py` lists, in order, and goes on where it was stopped; several
processes share the work. `measure` makes named models of the finished ones, encodes and decodes
photos with them as `pliant eval` does, and writes BD-rates and plots.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import curve_axes
import environment
import flow_plots
import torch
from flow_jobs import ANCHORS, EXACT, FLOAT, JOBS, RIVALS, SINGLES, STUDENTS, TWELVE, of_kind
from trainings import Job, command, installed, joined, percent, photos, points, rows_of

from pliant.evaluation import metrics
from pliant.evaluation.curves import BppRange, Curve, bd_quality, mean_curve
from pliant.evaluation.pictures import read_rgb
from pliant.evaluation.table import Row
from pliant.layers.anchor_gains import anchor_rates
from pliant.layers.exact import RateVector
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.models.blocks import to_pixels, to_tensor
from pliant.rate import to_quality

RUNS = environment.ROOT / "runs" / "flows"
RESULT = environment.RESULTS / "flows.json"
PICTURES = environment.ROOT / "docs" / "images"
HIGH = 1.5  # bpp, from where flows should be ahead
RANGES: tuple[BppRange, ...] = (None, (0.01, 0.5), (0.5, HIGH), (HIGH, 10.0))
RANGE_NAMES = ("whole", "up to 0.5 bpp", f"0.5 to {HIGH} bpp", f"above {HIGH} bpp")
TEACHER = "ilc-teacher"
UNROUNDED = (
    *(f"{TEACHER}{kind}" for kind in ("", "-longer", "-longest", "-noisy")),
    *(f"ilc-student{kind}" for kind in ("", "-longer", "-kept")),
)
# What is compared, and with what.
PAIRS = (
    (EXACT, FLOAT),
    (TWELVE, EXACT),
    *((EXACT, family) for family in RIVALS),
    ("ilc-student", TEACHER),
    ("ilc-student-longer", "ilc-teacher-longer"),
    ("ilc-student-kept", "ilc-teacher-longest"),
    ("ilc-teacher-noisy", "ilc-teacher-longest"),
    ("ilc-student-kept", "ilc-teacher-noisy"),
    *((f"ilc-{kind}", "ilc-student") for kind in STUDENTS[1:]),
)


def measure(jobs: Sequence[Job], chosen: argparse.Namespace) -> None:
    """Real files of all finished models on each folder of photos; one result file."""
    done = installed(jobs, chosen.runs)
    sets = {}
    for data in chosen.data:
        rows = rows_of([(job, _rates(job)) for job in done], data, chosen)
        paths = photos(data, chosen)
        found = compared(rows) | {"unrounded": _unrounded(rows, paths)}
        sets[data.resolve().name] = {"photos": len(paths)} | found
    environment.write(RESULT, {"ranges": RANGES, "sets": sets})
    RESULT.with_suffix(".md").write_text(table(sets))
    for name, found in sets.items():
        title = f"{name}, {found['photos']} photos"
        flow_plots.draw_msinn(found, title, PICTURES / f"msinn-{name}.png")
        flow_plots.draw_ilc(found, title, PICTURES / f"ilc-{name}.png")


def _rates(job: Job) -> list[int]:
    """The rate parameters of anchors, and halfway between them; a model of one rate has one."""
    if job.single:
        return [0]
    anchors = anchor_rates(ANCHORS[job.name])
    return [*anchors, *_halfway(anchors)]


def _halfway(rates: Sequence[int]) -> list[int]:
    return [(a + b) // 2 for a, b in itertools.pairwise(rates)]


def compared(rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Curves, what lies between their anchors, and BD-rates, from rows by the name of the job."""
    curves: dict[str, Curve] = {}
    between: dict[str, list[list[float]]] = {}
    for name in (n for n in ANCHORS if n in rows):
        anchors = anchor_rates(ANCHORS[name])
        curves[name] = _at(rows[name], anchors)
        between[name] = _beside(curves[name], _at(rows[name], _halfway(anchors)))
    for group in SINGLES:
        members = [job for job in of_kind(group) if job.name in rows]
        if members:
            curves[group] = joined(members, rows)
    pairs = [pair for pair in PAIRS if curves.keys() >= set(pair)]
    return {
        "curves": {name: points(curve) for name, curve in curves.items()},
        "between": between,
        "pairs": [_pair(test, against, curves) for test, against in pairs],
    }


def _at(rows: Sequence[Row], rates: Sequence[int]) -> Curve:
    qualities = {to_quality(rate) for rate in rates}
    return mean_curve([row for row in rows if row.quality in qualities])


def _beside(reference: Curve, test: Curve) -> list[list[float]]:
    """Points of `test`, each with its rate over that of the reference at its PSNR, in percent."""
    known, found = points(reference), points(test)
    return [
        [*point, round(float(away), 2)]
        for point, away in zip(found, curve_axes.away(known, found), strict=True)
        if not math.isnan(away)
    ]


def _pair(test: str, against: str, curves: Mapping[str, Curve]) -> dict[str, Any]:
    reference, curve = curves[against], curves[test]
    quality = bd_quality(reference, curve)
    return {
        "test": test,
        "against": against,
        "bd_rate": [percent(reference, curve, limits) for limits in RANGES],
        "bd_psnr": round(quality.difference, 3) if quality else None,
    }


def _unrounded(
    rows: Mapping[str, Sequence[Row]], paths: Sequence[Path]
) -> dict[str, list[list[float]]]:
    """For teachers and students: bpp and PSNR of files, and PSNR without rounding."""
    found = {}
    for group in UNROUNDED:
        found[group] = [
            [
                round(statistics.fmean(row.bpp for row in rows[job.name]), 4),
                round(statistics.fmean(row.metrics["psnr"] for row in rows[job.name]), 3),
                round(statistics.fmean(unrounded_psnr(model, path) for path in paths), 3),
            ]
            for job in of_kind(group)
            if job.name in rows
            for model in [registry.load(job.name).model]
        ]
    return found


@torch.inference_mode()
def unrounded_psnr(model: ImageModel, path: Path) -> float:
    """PSNR of the picture that is decoded from the latent as it is before rounding.

    What ILC does not code is zero here too: with its true value the inverse would be exact, while
    the paper has 40 to 46 dB "without quantisation".
    """
    pixels = read_rgb(path)
    height, width = pixels.shape[:2]
    latents = model.transform.analysis(model.pad(to_tensor(pixels)))
    decoded = model.decoded(latents, RateVector(torch.zeros(1)))
    return metrics.psnr(pixels, to_pixels(decoded, height, width, 3))


def table(sets: Mapping[str, Any]) -> str:
    """All results as Markdown, a section for each set of photos."""
    lines = ["# The invertible systems", ""]
    lines += ["Real files; `python benchmarks/flows.py measure`. BD-rate in percent.", ""]
    for name, found in sets.items():
        lines += [f"## {name}, {found['photos']} photos", ""]
        lines += [*_pairs_table(found), "", *_range_table(found), "", *_rounding_table(found), ""]
    return "\n".join(lines)


def _pairs_table(found: Mapping[str, Any]) -> list[str]:
    lines = [f"| model | against | {' | '.join(RANGE_NAMES)} | BD-PSNR, dB |"]
    lines.append("|---|---|" + "--:|" * (len(RANGES) + 1))
    for pair in found["pairs"]:
        cells = ["–" if p is None else f"{p:+.2f}" for p in (*pair["bd_rate"], pair["bd_psnr"])]
        lines.append(f"| {pair['test']} | {pair['against']} | {' | '.join(cells)} |")
    return lines


def _range_table(found: Mapping[str, Any]) -> list[str]:
    """What a model of all rates spans, and how far rates between anchors are from their curve."""
    lines = ["| model | bpp | PSNR, dB | halfway between anchors, % of rate |", "|---|---|---|---|"]
    for name, between in found["between"].items():
        curve, away = found["curves"][name], [point[2] for point in between]
        (low, worst), (high, best) = curve[0], curve[-1]
        spread = f"{min(away):+.2f} to {max(away):+.2f}" if away else "–"
        lines.append(f"| {name} | {low:.3f} to {high:.3f} | {worst:.2f} to {best:.2f} | {spread} |")
    return lines


def _rounding_table(found: Mapping[str, Any]) -> list[str]:
    """What rounding costs teachers and students."""
    lines = ["| model | bpp | PSNR, dB | not rounded, dB | difference, dB |"]
    lines.append("|---|--:|--:|--:|--:|")
    for group, records in found["unrounded"].items():
        for bpp, psnr, plain in records:
            lines.append(f"| {group} | {bpp:.4f} | {psnr:.2f} | {plain:.2f} | {plain - psnr:.2f} |")
    return lines


if __name__ == "__main__":
    command(__doc__ or "", JOBS, RUNS, measure)
