"""The ``pliant`` program: parses the command line, runs one command, returns its exit code.

Nothing here or in the command files imports numpy, Pillow or torch before a command needs it.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import pliant
from pliant.cli import compare, data, decode, encode, eval, import_, info, models, train
from pliant.cli.console import Console, standard_output
from pliant.errors import MissingError, PliantError, enough_memory, reason_of

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """Return the parser with every command; each sets ``run(args, console) -> exit code``."""
    result = argparse.ArgumentParser(
        prog="pliant",
        description="A learned image codec: one model for every rate.",
        epilog="Exit codes: 0 done, 1 some of several inputs failed or a file could not be written,"
        " 2 wrong usage, 3 damaged, foreign or unreadable file, 4 a limit or target that cannot be"
        " met, 5 weights or a package missing, 130 interrupted.",
        allow_abbrev=False,
    )
    result.add_argument("--version", action="version", version=f"pliant {pliant.__version__}")
    commands = result.add_subparsers(metavar="COMMAND", required=True)
    for command in (encode, decode, info, models, import_, train, compare, eval, data):
        command.add_parser(commands)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` by default) and return its exit code."""
    console = Console()
    try:
        return _run(argv, console)
    except KeyboardInterrupt:
        console.say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; keep the interpreter from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PliantError.exit_code


def _run(argv: Sequence[str] | None, console: Console) -> int:
    """As `main`; KeyboardInterrupt and BrokenPipeError pass."""
    try:
        try:
            args = parser().parse_args(argv)
        except SystemExit as stop:  # after a help text or a complaint
            with standard_output():
                return stop.code if isinstance(stop.code, int) else 2
        console.json = getattr(args, "json", False)
        console.quiet = getattr(args, "quiet", False)
        with warnings.catch_warnings():
            # Odd but readable metadata is no news for the reader of a command's output.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with enough_memory():
                code: int = args.run(args, console)
            return code
    except PliantError as error:
        console.error(error)
        return error.exit_code
    except BrokenPipeError:
        raise
    except ImportError as error:
        failure = MissingError(f"a package that this needs cannot be loaded: {reason_of(error)}")
        console.error(failure)
        return failure.exit_code
    except OSError as error:  # of a file that no command expects to be refused
        console.error(PliantError(reason_of(error)))
        return PliantError.exit_code


def program() -> NoReturn:
    """Run the command line as a process, and leave without taking torch apart: half a second."""
    _open_closed_streams()
    code = main()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def _open_closed_streams() -> None:
    """Make a standard stream that the caller closed the null device, so that it can be used."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
