"""Worker processes that may die: each does one job at a time and is replaced when it is gone.

A run has several pairs of them. The one that reads files back is never the one that wrote them, so
nothing but the file can pass from encoder to decoder.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from types import TracebackType
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from pliant.errors import PliantError, enough_memory, reason_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_ONE_THREAD = dict.fromkeys(
    (
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)
_PATIENCE = 5.0  # seconds that an idle process may take to end


class Caller(Protocol):
    """Something that does a job: here, or in another process."""

    def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Returns what the function returns.

        Raises:
            PliantError: whatever went wrong, in one sentence.
        """


def here(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Does the job in this process."""
    try:
        with enough_memory():
            return function(*args, **kwargs)
    except PliantError:
        raise
    except OSError as error:
        raise PliantError(reason_of(error)) from error
    except Exception as error:  # of a codec or metric of others, or a mistake of ours
        raise PliantError(f"unexpected failure: {reason_of(error)}") from error


class Worker:
    """Does jobs in a process of its own, which the first job starts; for one caller at a time."""

    def __init__(self) -> None:
        self._process: SpawnProcess | None = None
        self._pipe: Connection
        self._lock = threading.Lock()
        self._stopped = False

    def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Returns what the function returns there; function and arguments must pickle.

        Raises:
            PliantError: the function raised it or something else, or the process died.
        """
        if self._process is None:
            self._start()
        try:
            self._pipe.send((function, args, kwargs))
            answer: R | PliantError = self._pipe.recv()
        except (EOFError, OSError):
            raise PliantError(f"the worker process {self._end(0)}") from None
        if isinstance(answer, PliantError):
            raise answer
        return answer

    def close(self) -> None:
        """Lets the idle process end by itself."""
        if self._process is not None:
            self._end(_PATIENCE)

    def kill(self) -> None:
        """Ends the process in the middle of its job; may be called from another thread."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> None:
        with self._lock:
            if self._stopped:
                raise PliantError("the run was stopped")
            context = multiprocessing.get_context("spawn")
            self._pipe, far = context.Pipe()
            self._process = context.Process(target=_serve, args=(far,))
            self._process.start()
            far.close()

    def _end(self, patience: float) -> str:
        """Waits for the process, kills it if need be, and says how it ended."""
        with self._lock:
            process, self._process = self._process, None
        assert process is not None
        self._pipe.close()
        process.join(patience or _PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        code = process.exitcode or 0
        process.close()
        return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"


def _serve(pipe: Connection) -> None:
    """Does what arrives until the other end is closed, also by the death of its process."""
    # Odd but readable metadata is no news for the reader of a run's output.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            function, args, kwargs = pipe.recv()
            try:
                answer = here(function, *args, **kwargs)
            except PliantError as error:
                answer = error
            pipe.send(answer)


class Pair(NamedTuple):
    """Two that do jobs: one writes files, the other reads them back."""

    writer: Caller
    reader: Caller


class Crew:
    """The pairs of worker processes of one run, one thread each; a context manager.

    Args:
        workers: how many pairs, of which one process is at work at a time; 0 does everything in
            this process, where a crash is a crash.
    """

    def __init__(self, workers: int) -> None:
        self._all = [Worker() for _ in range(2 * workers)]
        self._free: SimpleQueue[Pair] = SimpleQueue()
        for writer, reader in zip(self._all[::2], self._all[1::2], strict=True):
            self._free.put(Pair(writer, reader))
        self._threads = ThreadPoolExecutor(max(1, workers), initializer=_leave_interrupts)
        self._environment = contextlib.ExitStack()

    def __enter__(self) -> Crew:
        self._environment.enter_context(_environment(_ONE_THREAD))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if kind is not None:
            for worker in self._all:
                worker.kill()
        self._threads.shutdown()
        for worker in self._all:
            worker.close()
        self._environment.close()

    def map(
        self, work: Callable[[Pair, T], R], tasks: Sequence[T]
    ) -> Iterator[tuple[T, R | PliantError]]:
        """Yields every task with its result or what went wrong, as they get done.

        They are begun in the given order.
        """
        if not self._all:
            for task in tasks:
                yield task, _attempt(work, Pair(here, here), task)
            return
        futures: dict[Future[R | PliantError], T] = {
            self._threads.submit(self._lend, work, task): task for task in tasks
        }
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _lend(self, work: Callable[[Pair, T], R], task: T) -> R | PliantError:
        pair = self._free.get()
        try:
            return _attempt(work, pair, task)
        finally:
            self._free.put(pair)


def _attempt(work: Callable[[Pair, T], R], pair: Pair, task: T) -> R | PliantError:
    try:
        return work(pair, task)
    except PliantError as error:
        return error


def _leave_interrupts() -> None:
    """Ctrl-C is for the main thread alone: processes started in this thread inherit the mask."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # which would clear the mask if it started later
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Sets variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
