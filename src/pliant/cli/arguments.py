"""Options that several commands share, and how the text of an option becomes a value."""

from __future__ import annotations

import argparse
import math

from pliant.errors import UsageError
from pliant.limits import parse_count

_LARGEST = 1_000_000


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that encode and decode share."""
    parser.add_argument(
        "inputs", nargs="+", type=name, metavar="IN", help="input file, - for stdin"
    )
    parser.add_argument(
        "-o", "--output", type=name, metavar="OUT", help="output file, - for stdout, or folder"
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.add_argument(
        "--max-pixels", type=count, metavar="N", help="refuse larger images (default 268M)"
    )
    add_report_options(parser)


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add --json and --quiet."""
    parser.add_argument("--json", action="store_true", help="print one JSON object per input")
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def name(text: str) -> str:
    """Refuse an empty file name for argparse."""
    if not text:
        raise argparse.ArgumentTypeError("a file name is empty")
    return text


def count(text: str) -> int:
    """Parse a number such as 40000, 120k or 1.5M for argparse."""
    try:
        return parse_count(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def quality(text: str) -> float:
    """Parse a quality from 0 to 100 for argparse."""
    value = _number(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return value


def positive(text: str) -> float:
    """Parse a number above 0, and of a sensible size, for argparse."""
    value = _number(text)
    if not 0 < value <= _LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, {_LARGEST} at most")
    return value


def natural(text: str) -> int:
    """Parse a whole number above 0, and of a sensible size, for argparse."""
    value = _number(text)
    if not value.is_integer() or not 1 <= value <= _LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_LARGEST}")
    return int(value)


def _number(text: str) -> float:
    """Return what the text says; not a number (NaN) where it says none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
