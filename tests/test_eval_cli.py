"""`pliant eval`: options, exit codes, JSON, the bar, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pliant.cli import eval as command
from pliant.cli.main import main
from pliant.errors import MissingError
from pliant.evaluation import codecs, metrics, report, run, set_distances
from pliant.evaluation.set_distances import SetDistance
from pliant.evaluation.table import CSV, JOURNAL, Row
from pliant.evaluation.workers import Crew

TWO = ["--codec", "jpeg@20,60,90", "--codec", "webp@10,50,80"]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working folder with two pictures in `photos`; the work is done in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "Crew", lambda workers: Crew(0))
    (tmp_path / "photos").mkdir()
    for name in ("one.png", "two.png"):
        Image.effect_noise((48, 40), 60).convert("RGB").save(tmp_path / "photos" / name)
    return tmp_path


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, list[Row], str, Path]]:
    """What the report would have been written from."""
    calls: list[tuple[Path, list[Row], str, Path]] = []

    def write(
        folder: Path,
        rows: Sequence[Row],
        *,
        anchor: str,
        images: Path,
        distances: Sequence[SetDistance],
        shown: Sequence[str] | None,
    ) -> list[Path]:
        calls.append((folder, list(rows), anchor, images))
        return [folder / "report.html"]

    monkeypatch.setattr(report, "write", write)
    return calls


Reports = list[tuple[Path, list[Row], str, Path]]


def test_rows_table_and_report(reports: Reports, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "photos", *TWO]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "12 rows of 2 images → pliant-eval/report.html" in err.replace(os.sep, "/")
    ((folder, rows, anchor, images),) = reports
    assert (folder, anchor, images) == (Path("pliant-eval"), "jpeg-420", Path("photos"))
    assert [row.codec for row in rows] == ["jpeg-420"] * 6 + ["webp"] * 6
    assert len(Path("pliant-eval", CSV).read_text().splitlines()) == 13


def test_options_reach_the_engine(
    reports: Reports, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def evaluate(*args: Any, **kwargs: Any) -> list[Row]:
        asked.append((args, kwargs))
        return []

    monkeypatch.setattr(run, "evaluate", evaluate)
    options = ["-o", "there", "--workers", "3", "--limit", "1", "--no-files"]
    wanted = ["--metric", "psnr", "--metric", "ssimulacra2"]
    assert main(["eval", "photos", *TWO, *options, *wanted, "--quiet"]) == 0
    (((specs, paths, folder), keywords),) = asked
    assert (specs, folder) == (["jpeg@20,60,90", "webp@10,50,80"], Path("there"))
    assert paths == [Path("photos", "one.png")]
    assert (keywords["workers"], keywords["keep_files"]) == (3, False)
    assert keywords["metrics"] == (*run.DEFAULT_METRICS, "ssimulacra2")
    assert not reports  # there is nothing to report
    assert capsys.readouterr() == ("", "")


def test_json_has_one_object_per_codec(
    reports: Reports, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bjontegaard")
    assert main(["eval", "photos", *TWO, "--json", "--anchor", "webp"]) == 0
    jpeg, webp = map(json.loads, capsys.readouterr().out.splitlines())
    assert (jpeg["codec"], jpeg["images"], jpeg["anchor"]) == ("jpeg-420", 2, "webp")
    assert set(jpeg["curve"]) == {"quality", "bpp", "psnr", "psnr_y"}
    assert jpeg["curve"]["quality"] == [20, 60, 90]
    rows = [row for row in reports[0][1] if (row.codec, row.quality) == ("jpeg-420", 20)]
    assert jpeg["curve"]["bpp"][0] == pytest.approx(sum(row.bpp for row in rows) / 2)
    assert jpeg["curve"]["psnr"][0] == pytest.approx(sum(row.psnr for row in rows) / 2)
    assert {entry["mean_curve"]["percent"] for entry in webp["bd_rate"] if entry["mean_curve"]} == {
        0.0
    }
    (whole,) = (e for e in jpeg["bd_rate"] if (e["metric"], e["bpp"]) == ("psnr", None))
    assert set(whole["mean_curve"]) == {"percent", "low", "high"}


def test_the_infinite_psnr_of_a_lossless_file_is_null(
    reports: Reports, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bjontegaard")
    monkeypatch.setitem(metrics.PAIRWISE, "psnr", lambda reference, image: float("inf"))
    assert main(["eval", "photos", *TWO, "--json"]) == 0
    first, _ = capsys.readouterr().out.splitlines()
    assert "Infinity" not in first
    assert json.loads(first)["curve"]["psnr"] == [None, None, None]


def test_failures_give_exit_code_1_and_the_rest(
    reports: Reports, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("photos", "broken.png").write_text("no image")
    whole = Path("photos", "one.png").read_bytes()
    Path("photos", "torn.png").write_bytes(whole[: len(whole) // 2])
    os.mkdir("photos/folder.png")
    assert main(["eval", "photos", *TWO]) == 1
    said = capsys.readouterr().err
    assert "error: broken.png: this is not an image in a format" in said
    assert "error: torn.png: the image cannot be decoded: image file is truncated" in said
    assert "error: folder.png: cannot be read: Is a directory" in said
    assert "Error:" not in said
    assert len(reports[0][1]) == 12


def test_a_missing_folder_is_named(capsys: pytest.CaptureFixture[str], reports: Reports) -> None:
    assert main(["eval", "nowhere", *TWO]) == 2
    assert capsys.readouterr().err == "pliant: error: there is no folder nowhere\n"


def test_more_workers_than_rows_are_not_made(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def crew(workers: int) -> Crew:
        made.append(workers)
        return Crew(0)

    monkeypatch.setattr(run, "Crew", crew)
    assert main(["eval", "photos", *TWO, "--workers", "1000000", "-o", "many"]) == 0
    assert made == [2 * 2 * 3]  # codecs, pictures, qualities


def test_an_unavailable_codec_disables_its_rows(
    reports: Reports, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = codecs.find

    def without_webp(spec: str, **keywords: Any) -> codecs.ImageCodec:
        if spec.startswith("webp"):
            raise MissingError("WebP is not built in")
        return find(spec, **keywords)

    monkeypatch.setattr(codecs, "find", without_webp)
    assert main(["eval", "photos", *TWO, "--anchor", "jpeg"]) == 1
    assert "error: webp@10,50,80: WebP is not built in\n" in capsys.readouterr().err
    assert {row.codec for row in reports[0][1]} == {"jpeg-420"}
    assert main(["eval", "photos", "--codec", "webp"]) == 5
    # Of the default codecs those that are there will do.
    monkeypatch.setattr(command, "DEFAULT_CODECS", ("webp", "jpeg"))
    assert main(["eval", "photos"]) == 0
    assert "without webp: WebP is not built in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nowhere"],
        ["photos", "--codec", "gif"],
        ["photos", "--codec", "jpeg", "--metric", "beauty"],
        ["photos", "--codec", "jpeg", "--anchor", "webp"],
        ["photos", "--codec", "jpeg", "--crops", "webp"],
        ["photos", "--codec", "jpeg", "--distance", "fid_squeeze"],
        ["photos", "--codec", "jpeg", "--distance", "fd_random"],  # photos below a patch
        ["photos", "--codec", "jpeg", "--distance", "fd_random", "--no-files"],
        ["photos", "--limit", "0"],
        ["photos", "--workers", "many"],
    ],
)
def test_wrong_usage(arguments: list[str], reports: Reports) -> None:
    assert main(["eval", *arguments]) == 2
    assert not reports


@pytest.mark.parametrize(
    "options, expected",
    [([], None), (["--crops", "none"], []), (["--crops", "webp", "--crops", "jpeg"], [1, 0])],
)
def test_crops_of_some_codecs(
    options: list[str], expected: list[int] | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[str] | None] = []

    def write(*_: Any, shown: list[str] | None, **more: Any) -> list[Path]:
        found.append(shown)
        return []

    monkeypatch.setattr(report, "write", write)
    assert main(["eval", "photos", *TWO, *options, "--quiet"]) == 0
    names = ("jpeg-420", "webp")
    assert found == [None if expected is None else [names[number] for number in expected]]


def test_distances_are_computed_and_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[SetDistance] = []

    def write(*_: Any, distances: Sequence[SetDistance], **more: Any) -> list[Path]:
        found.extend(distances)
        return []

    monkeypatch.setattr(report, "write", write)
    for seed, name in enumerate(("one.png", "two.png")):
        noise = np.random.default_rng(seed).integers(0, 256, (256, 260, 3), np.uint8)
        Image.fromarray(noise).save(Path("photos", name))
    wanted = ["--distance", "fd_random", "--distance", "kd_random"]
    one = ["--codec", "jpeg@30,60"]
    assert main(["eval", "photos", *one, *wanted, "--quiet"]) == 0
    assert [(d.quality, d.name) for d in found] == [
        (quality, name) for quality in (30, 60) for name in ("fd_random", "kd_random")
    ]
    Path("pliant-eval", set_distances.JOURNAL).unlink()
    next(Path("pliant-eval", "files", "jpeg-420").glob("one@30*")).unlink()
    assert main(["eval", "photos", *one, *wanted, "--quiet"]) == 1
    assert "distances of jpeg-420 at 30: no kept file of one.png" in capsys.readouterr().err


def test_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = [("jpeg", "JPEG", None), ("vvc", "VVC intra", "VVC needs an encoder")]
    monkeypatch.setattr(codecs, "available", lambda: found)
    assert main(["eval", "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{'jpeg':24} JPEG",
        f"{'vvc':24} VVC intra (not here: VVC needs an encoder)",
    ]
    assert main(["eval", "--list", "--json"]) == 0
    _, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert last == {"codec": "vvc", "title": "VVC intra", "missing": "VVC needs an encoder"}


def test_the_bar_is_for_terminals(
    reports: Reports, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm")
    assert main(["eval", "photos", *TWO]) == 0
    assert "12/12" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["eval", "photos", *TWO, "-o", "again"]) == 0
    assert "12/12" in capsys.readouterr().err
    assert main(["eval", "photos", *TWO, "-o", "again"]) == 0
    assert "12/12" not in capsys.readouterr().err  # nothing was left to do


def test_help_needs_no_numpy() -> None:
    code = (
        "import sys; from pliant.cli.main import main; code = main(['eval', '--help'])\n"
        "assert code == 0 and not {'numpy', 'PIL', 'torch'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_interrupt_ends_the_run_and_it_goes_on(folder: Path, reports: Reports) -> None:
    many = ["--codec", f"webp@{','.join(map(str, range(101)))}", "--limit", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pliant", "eval", "photos", *many, "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    journal = folder / "pliant-eval" / JOURNAL
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert text.splitlines() == [
        "pliant: what is finished is in pliant-eval; the same command goes on from there",
        "pliant: interrupted",
    ]
    before = journal.read_text().splitlines()
    assert 0 < len(before) < 101
    assert main(["eval", "photos", *many, "--quiet"]) == 0
    after = journal.read_text().splitlines()
    assert after[: len(before)] == before
    assert len(after) == len(reports[0][1]) == 101
