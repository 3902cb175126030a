"""Worker processes: results, errors, deaths, interruption."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from pliant.errors import DamagedError, LimitError, PliantError
from pliant.evaluation.workers import Crew, Pair, Worker, here


def double(number: int) -> int:
    return 2 * number


def fail(error: BaseException) -> None:
    raise error


def warn(module: str) -> None:
    warnings.warn_explicit(f"odd {module}", UserWarning, "file.py", 1, module)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def test_a_worker_is_one_other_process(worker: Worker) -> None:
    assert worker(double, 21) == 42
    first = worker(os.getpid)
    assert first == worker(os.getpid) != os.getpid()


def test_errors_come_back_as_one_sentence(worker: Worker) -> None:
    for caller in (worker, here):
        with pytest.raises(DamagedError, match=r"^torn$"):
            caller(fail, DamagedError("torn"))
        with pytest.raises(PliantError, match=r"^unexpected failure: two lines$"):
            caller(fail, ValueError("two\n  lines"))
        with pytest.raises(PliantError, match=r"^unexpected failure: no reason is given$"):
            caller(fail, AssertionError())
        with pytest.raises(PliantError, match=r"^a\.png: Permission denied$"):
            caller(fail, PermissionError(13, "Permission denied", "a.png"))
        with pytest.raises(LimitError, match="memory"):
            caller(fail, MemoryError())


def test_odd_pictures_are_no_news(worker: Worker, capfd: pytest.CaptureFixture[str]) -> None:
    worker(warn, "PIL.Image")
    worker(warn, "elsewhere")
    said = capfd.readouterr().err
    assert "odd PIL.Image" not in said
    assert "odd elsewhere" in said


def test_a_dead_worker_is_replaced(worker: Worker) -> None:
    with pytest.raises(PliantError, match="signal 9"):
        worker(die)
    assert worker(double, 4) == 8
    with pytest.raises(PliantError, match="code 3"):
        worker(os._exit, 3)
    assert worker(double, 4) == 8


def test_a_killed_worker_stays_dead(worker: Worker) -> None:
    threading.Timer(0.2, worker.kill).start()
    started = time.monotonic()
    with pytest.raises(PliantError):
        worker(time.sleep, 60)
    assert time.monotonic() - started < 30
    with pytest.raises(PliantError, match="stopped"):
        worker(double, 1)


def test_a_crew_keeps_tasks_with_results_and_errors() -> None:
    def work(pair: Pair, number: int) -> tuple[int, int, int]:
        if number == 2:
            pair.reader(die)
        return pair.writer(double, number), pair.writer(os.getpid), pair.reader(os.getpid)

    with Crew(2) as crew:
        found = dict(crew.map(work, range(5)))
    assert str(found.pop(2)) == "the worker process was ended by signal 9"
    for number, outcome in found.items():
        assert isinstance(outcome, tuple)
        doubled, writer, reader = outcome
        assert doubled == 2 * number
        assert len({writer, reader, os.getpid()}) == 3


def test_workers_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    with Crew(1) as crew:
        outcomes = crew.map(lambda pair, name: pair.writer(os.getenv, name), names)
        assert dict(outcomes) == dict.fromkeys(names, "1")
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_a_crew_without_workers_works_here() -> None:
    def work(pair: Pair, number: int) -> int:
        if number == 1:
            raise DamagedError("torn")
        return pair.writer(os.getpid)

    with Crew(0) as crew:
        found = list(crew.map(work, range(3)))
    assert [number for number, _ in found] == [0, 1, 2]
    assert found[0][1] == found[2][1] == os.getpid()
    assert isinstance(found[1][1], DamagedError)


def test_leaving_a_crew_by_an_error_ends_running_jobs() -> None:
    def stop_after_the_first() -> None:
        with Crew(1) as crew:
            next(crew.map(lambda pair, seconds: pair.writer(time.sleep, seconds), [0, 60, 60]))
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stop_after_the_first()
    assert time.monotonic() - started < 30
