"""Trainings of benchmarks: lists that fit together, command lines, order, snapshots, curves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from synthetic_rows import rows

from pliant.evaluation.curves import Curve
from pliant.models import importing, registry
from pliant.training import recipes

sys.path.append(str(ROOT / "benchmarks"))

import flow_jobs
import trainings
import variable_rate_jobs
from trainings import Job

LISTS = {"flows": flow_jobs.JOBS, "variable rate": variable_rate_jobs.JOBS}
BASE = Job("base", "factorized", "", {"steps": "4", "validate_every": "2"})
EARLY = Job("early", "factorized", "base", snapshot="average-000002.pt")
NEXT = Job("next", "msinn", "base", {"steps": "3"})
PUPIL = Job("pupil", "ilc", "", {"steps": "3"}, teacher="early")
KNOWN = {job.name: job for job in (BASE, EARLY, NEXT, PUPIL)}
DATA = [Path("photos")]


@pytest.mark.parametrize("name", LISTS)
def test_jobs_fit_together(name: str, tmp_path: Path) -> None:
    """Names are unique and can name models, what a job needs comes before it, recipes take it."""
    before: dict[str, Job] = {}
    for job in LISTS[name]:
        assert job.name not in before
        importing.check_name(job.name, tmp_path)
        assert {job.start, job.teacher} - {""} <= before.keys()
        before[job.name] = job
        if job.snapshot:
            start = before[job.start]
            assert job.recipe == start.recipe
            step = int(start.settings["validate_every"])
            assert step < int(start.settings["steps"])
            assert job.snapshot == f"average-{step:06d}.pt"
            continue
        recipe = recipes.get(job.recipe, job.settings)
        model = registry.build(recipe.model)
        assert model.single_rate or not job.single
        if job.teacher:
            assert before[job.teacher].single == job.single
        elif job.single:
            assert recipe.distortion_weight == job.single


def test_the_flows_share_what_shall_be_equal() -> None:
    """Data and steps of what is compared."""
    known = {job.name: job for job in flow_jobs.JOBS}
    exact, real = (known[name] for name in (flow_jobs.EXACT, flow_jobs.FLOAT))
    assert exact.settings | {"model": ""} == real.settings | {"model": ""}
    students = [job for job in flow_jobs.JOBS if job.recipe == "ilc"]
    assert {job.settings["steps"] for job in students} == {str(flow_jobs.STUDENT)}
    assert len(flow_jobs.of_kind("ilc-student")) == len(flow_jobs.of_kind("ilc-teacher")) >= 4
    assert [job.single for job in flow_jobs.of_kind("ilc-teacher")] == sorted(flow_jobs.RATES)


class Commands:
    """Stands in for the processes of trainings: writes the checkpoint that each would."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = []

    def __call__(self, line: list[str], **_: Any) -> None:
        self.lines.append(line[3:])
        folder = Path(line[line.index("--output") + 1])
        steps = next(x for x in line if x.startswith("steps=")).removeprefix("steps=")
        torch.save({"step": int(steps)}, folder / trainings.CHECKPOINT)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(trainings.subprocess, "run", made)
    return made


def train(job: Job, runs: Path) -> bool:
    return trainings.train(job, KNOWN, DATA, runs, 1)


def test_a_job_waits_for_what_it_needs(commands: Commands, tmp_path: Path) -> None:
    assert not train(NEXT, tmp_path)
    assert not train(PUPIL, tmp_path)
    assert train(BASE, tmp_path)
    assert not train(BASE, tmp_path)  # it is finished
    assert train(NEXT, tmp_path)
    assert not train(PUPIL, tmp_path)  # there is no snapshot yet
    assert not train(EARLY, tmp_path)  # nothing is trained for one
    (tmp_path / "base" / EARLY.snapshot).touch()
    assert trainings.finished(EARLY, tmp_path)
    assert train(PUPIL, tmp_path)
    assert [line[1] for line in commands.lines] == ["factorized", "msinn", "ilc"]


def test_command_lines(commands: Commands, tmp_path: Path) -> None:
    train(BASE, tmp_path)
    (tmp_path / "base" / EARLY.snapshot).touch()
    torch.save({"step": 2}, tmp_path / "base" / trainings.CHECKPOINT)  # it was stopped
    train(BASE, tmp_path)
    train(NEXT, tmp_path)
    train(PUPIL, tmp_path)
    runs = str(tmp_path)
    first = ["train", "factorized", "photos", "--set", "steps=4", "--set", "validate_every=2"]
    first += ["--set", "threads=1", "--output", f"{runs}/base"]
    assert commands.lines[0] == first
    assert commands.lines[1] == [*first, "--resume"]
    assert commands.lines[2][-4:] == [
        "--output",
        f"{runs}/next",
        "--from",
        f"{runs}/base/checkpoint.pt",
    ]
    assert f"teacher={runs}/base/average-000002.pt" in commands.lines[3]


def test_another_process_has_it(commands: Commands, tmp_path: Path) -> None:
    with trainings.locked(tmp_path / "base"):
        assert not train(BASE, tmp_path)
    assert not commands.lines


def test_only_the_named_are_trained(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["train", "photos", "--runs", str(tmp_path), "--only", "next", "base"]
    monkeypatch.setattr(sys, "argv", ["flows.py", *arguments])
    trainings.command("Title\nmore", [NEXT, BASE, PUPIL], tmp_path, lambda jobs, chosen: None)
    assert [line[1] for line in commands.lines] == ["factorized", "msinn"]


def test_models_of_one_rate_make_a_curve() -> None:
    """A point for each, the mean over the photos."""
    coarse, fine = (Job(name, "factorized", single=w) for name, w in (("a", 0.1), ("b", 0.2)))
    found = trainings.joined(
        [fine, coarse],
        {
            "a": [*rows("x", "one", 1.0, [1.0]), *rows("x", "two", 2.0, [1.0])],
            "b": [*rows("y", "one", 1.0, [3.0]), *rows("y", "two", 2.0, [3.0])],
        },
    )
    assert trainings.points(found) == [[0.15, 30.0], [0.6, 42.0]]


def test_rates_are_compared_where_curves_meet() -> None:
    curve = Curve((0.1, 0.2, 0.4, 0.8), {"psnr": (30.0, 36.0, 42.0, 48.0)})
    more = Curve((0.11, 0.22, 0.44, 0.88), {"psnr": (30.0, 36.0, 42.0, 48.0)})
    assert trainings.percent(curve, more) == pytest.approx(10, abs=0.01)
    assert trainings.percent(curve, more, (0.2, 0.5)) == pytest.approx(10, abs=0.01)
    assert trainings.percent(curve, more, (2.0, 3.0)) is None
