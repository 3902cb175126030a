"""What a run says while it trains, and how it is asked to stop."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BAR = "{percentage:5.1f}% {bar} {desc}"


class Journal:
    """The run folder's log, and the progress bar or the same lines on stderr."""

    def __init__(self, folder: Path) -> None:
        path = folder / "log.txt"
        self._log = path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
        self._bar: Any = None
        if sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                self._bar = tqdm(
                    total=100.0, unit="%", bar_format="{percentage:5.1f}% {bar} {desc}"
                )

    def note(self, text: str) -> None:
        """One line for log and reader."""
        self._log.write(text + "\n")
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            with contextlib.suppress(OSError):  # a run goes on when nobody reads what it says
                print(text, file=sys.stderr, flush=True)

    def show(self, progress: float, text: str) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.n = min(100.0, 100 * progress)
            self._bar.set_description_str(text)

    def close(self) -> None:
        """Ends bar and log."""
        if self._bar is not None:
            self._bar.close()
        self._log.close()


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Inside, the first interrupt or termination only asks to stop after the current step."""
    asked = threading.Event()
    names = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = [signal.getsignal(name) for name in names]

    def ask(number: int, frame: Any) -> None:
        asked.set()
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)

    try:
        for name in names:
            signal.signal(name, ask)
        yield asked.is_set
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
