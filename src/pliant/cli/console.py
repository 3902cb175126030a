"""What a command prints: results and JSON to stdout, everything else for people to stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO, TypeVar

from pliant.errors import OutputError, PliantError

T = TypeVar("T")


class Console:
    """One command's output. json: one object per line on stdout. quiet: only errors."""

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self._bar_shown = False

    def result(self, record: dict[str, Any], text: str) -> None:
        """Report one finished input: the record as JSON, or the text to stderr."""
        if self.json:
            _print(json.dumps(record))
        elif not self.quiet:
            self.say(text)

    def data(self, record: dict[str, Any], text: str) -> None:
        """Print what the command was asked for, to stdout in both forms."""
        _print(json.dumps(record) if self.json else text)

    def note(self, text: str) -> None:
        """Print a remark to stderr unless quiet or JSON (whose records hold the notes)."""
        if not self.quiet and not self.json:
            self.say(text)

    def error(self, error: PliantError, source: str | None = None) -> None:
        """Print an error to stderr, and as an object when JSON is on."""
        self.say(f"error: {error}" if source is None else f"error: {source}: {error}")
        if self.json:
            content = {
                "type": type(error).__name__,
                "message": str(error),
                "exit_code": error.exit_code,
            }
            record: dict[str, Any] = {} if source is None else {"input": source}
            with contextlib.suppress(OutputError):  # the sentence on stderr must do
                _print(json.dumps(record | {"error": content}))

    def say(self, text: str) -> None:
        """Print one line to stderr, above the progress bar if there is one."""
        with contextlib.suppress(OSError):  # work goes on when nobody can be told about it
            if self._bar_shown:
                from tqdm import tqdm

                tqdm.write(f"pliant: {text}", file=sys.stderr)
            else:
                print(_spelt(f"pliant: {text}", sys.stderr), file=sys.stderr, flush=True)

    def progress(self, items: Sequence[T]) -> Iterator[T]:
        """Yield the items, with a bar on a terminal when there are several."""
        with self.bar("file") as show:
            for done, item in enumerate(items):
                show(done, len(items))
                yield item
            show(len(items), len(items))

    @contextlib.contextmanager
    def bar(self, unit: str) -> Iterator[Callable[[int, int], None]]:
        """Yield a function that shows how many of how many are done, on a terminal."""
        shown: list[Any] = []
        silent = self.quiet or self.json or not sys.stderr.isatty()

        def show(done: int, total: int) -> None:
            if not shown and not silent and total > 1:
                with contextlib.suppress(ImportError):  # the bar is a comfort of an extra
                    from tqdm import tqdm

                    shown.append(tqdm(total=total, unit=unit, file=sys.stderr))
                    self._bar_shown = True
            for bar in shown:
                bar.update(done - bar.n)

        try:
            yield show
        finally:
            self._bar_shown = False
            for bar in shown:
                bar.close()


@contextlib.contextmanager
def standard_output() -> Iterator[TextIO]:
    """Yield stdout, and flush it at the end.

    Raises OutputError when it cannot be written, BrokenPipeError when its reader has gone.
    """
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot write to standard output: {reason}") from error


def _print(line: str) -> None:
    with standard_output() as stream:
        print(_spelt(line, stream), file=stream)


def _spelt(line: str, stream: TextIO) -> str:
    """Return the line without characters of file names that the stream's encoding lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)
