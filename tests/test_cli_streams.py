"""The program as a process: standard streams, pipes, interrupts, and how it ends."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from cli_files import ENVIRONMENT, FAKE, photo
from PIL import Image

from pliant.cli.main import main
from pliant.container import read

needs_full = pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="no device that is always full"
)
# All that print, but `models`, which takes seconds.
PRINTING = [
    ["--help"],
    ["--version"],
    ["info", "a.pli"],
    ["info", "--json", "a.pli", "a.pli"],
    ["encode", "a.png", "--force", "--json"],
    ["encode", "a.png", "-o", "-"],
    ["decode", "a.pli", "-o", "-"],
    ["data", "--list"],
    ["eval", "--list"],
    ["train", "--help"],
]

pytestmark = pytest.mark.usefixtures("stand_in")


def test_full_disk_is_one_sentence_and_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    photo("a.png")
    monkeypatch.setattr(os, "fsync", full)
    assert main(["encode", "a.png"]) == 1
    assert "cannot write a.pli: No space left on device" in capsys.readouterr().err
    assert not Path("a.pli").exists()


@needs_full
@pytest.mark.parametrize("arguments", PRINTING)
def test_full_stdout_is_one_sentence_and_1(arguments: list[str]) -> None:
    photo("a.png")
    main(["encode", "--quiet", "a.png"])
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*FAKE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
    assert done.returncode == 1
    sentence = "cannot write to standard output: No space left on device"
    assert done.stderr == f"pliant: error: {sentence}\n"


@needs_full
def test_full_stdout_does_not_hide_another_error() -> None:
    with open("/dev/full", "wb") as full:
        command = [*FAKE, "info", "--json", "no.pli"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith("pliant: error: no.pli: cannot be read")
    assert done.stderr.count("\n") == 1


@needs_full
def test_work_goes_on_when_stderr_cannot_be_written() -> None:
    photo("a.png")
    with open("/dev/full", "wb") as full:
        assert subprocess.run([*FAKE, "encode", "a.png"], stderr=full).returncode == 0
        assert subprocess.run([*FAKE, "encode", "a.png"], stderr=full).returncode == 2
    assert Path("a.pli").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
def test_closed_streams_are_like_the_null_device() -> None:
    photo("a.png")
    command = [sys.executable, "-m", "pliant"]

    def run(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command, *arguments]
        return subprocess.run(line, capture_output=True, text=True)

    for redirection in (">&-", "2>&-", ">&- 2>&- <&-"):
        done = run(redirection, "--version")
        assert (done.returncode, done.stderr) == (0, "")
    assert run(">&- 2>&-", "info", "no.pli").returncode == 3
    assert "standard input: the file is empty" in run("<&-", "info", "-").stderr


def test_streams() -> None:
    original = photo("a.png", (40, 30))
    png = Path("a.png").read_bytes()
    run = subprocess.run
    encoded = run([*FAKE, "encode", "-"], input=png, capture_output=True, check=True).stdout
    assert read(encoded).header.width == 40
    decoded = run([*FAKE, "decode", "-"], input=encoded, capture_output=True, check=True).stdout
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(decoded))), original)
    run([*FAKE, "encode", "-", "-o", "b.pli"], input=png, check=True, capture_output=True)
    assert Path("b.pli").read_bytes() == encoded
    info = run([*FAKE, "info", "--json", "-"], input=encoded, capture_output=True, check=True)
    assert json.loads(info.stdout)["width"] == 40


def test_streams_and_json_or_terminals_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    photo("a.png")
    assert main(["encode", "a.png", "-o", "-", "--json"]) == 2
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["encode", "a.png", "-o", "-"]) == 2


@pytest.mark.parametrize("arguments", PRINTING)
def test_a_reader_that_goes_away_is_silent(arguments: list[str]) -> None:
    photo("a.png", (300, 300))
    main(["encode", "--quiet", "a.png"])
    command = [*FAKE, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_named_pipes_are_read() -> None:
    original = photo("a.png")
    os.mkfifo("pipe")

    def fill(source: str) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: Path("pipe").write_bytes(Path(source).read_bytes())
        )
        thread.start()
        return thread

    writer = fill("a.png")
    assert main(["encode", "pipe", "-o", "a.pli"]) == 0
    writer.join()
    writer = fill("a.pli")
    assert main(["decode", "pipe", "-o", "b.png"]) == 0
    writer.join()
    with Image.open("b.png") as decoded:
        assert np.array_equal(np.asarray(decoded), original)


def test_interrupt_is_130_and_leaves_nothing() -> None:
    photo("a.png")
    environment = {**os.environ, "FAKE_SECONDS": "20"}
    with subprocess.Popen(
        [*FAKE, "encode", "a.png"], env=environment, stderr=subprocess.PIPE
    ) as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 130
    assert os.listdir() == ["a.png"]


def test_interrupt_while_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    photo("a.png")
    Path("a.pli").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    assert main(["encode", "a.png", "--force"]) == 130
    assert Path("a.pli").read_bytes() == b"old"


def test_help_and_info_start_fast() -> None:
    photo("a.png")
    main(["encode", "--quiet", "a.png"])
    for arguments in (["--help"], ["--version"], ["info", "a.pli"]):
        seconds = []
        for _ in range(3):
            # Processor time: on a busy machine the clock measures the neighbours.
            before = os.times()
            command = [sys.executable, "-m", "pliant", *arguments]
            subprocess.run(command, check=True, capture_output=True)
            after = os.times()
            user = after.children_user - before.children_user
            seconds.append(user + after.children_system - before.children_system)
        assert min(seconds) < 0.15


def test_a_process_gives_the_exit_code_and_all_of_its_output() -> None:
    command = [sys.executable, "-m", "pliant"]
    helped = subprocess.run(
        [*command, "--help"], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert helped.stdout.rstrip().endswith("130 interrupted.")
    failed = subprocess.run([*command, "info", "no.pli"], capture_output=True, text=True)
    assert failed.returncode == 3
    assert failed.stderr.startswith("pliant: error: no.pli: cannot be read")
