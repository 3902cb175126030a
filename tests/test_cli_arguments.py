"""Numbers and names on the command line: what is none is refused in words for people."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from pliant.cli import arguments
from pliant.cli.main import main

ODD = ["", "x", "nan", "-nan", "inf", "-inf", "1e999", "-1", "1e30", "0x10", "1,5", "--"]


@pytest.mark.parametrize("parse", [arguments.quality, arguments.positive, arguments.natural])
@pytest.mark.parametrize("text", ODD)
def test_what_is_no_number_is_refused(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not a (whole )?number"):
        parse(text)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (arguments.quality, "0", 0),
        (arguments.quality, "100", 100),
        (arguments.positive, "1e-3", 0.001),
        (arguments.natural, "7", 7),
        (arguments.count, "1.5k", 1500),
    ],
)
def test_numbers(parse: Callable[[str], Any], text: str, value: float) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [(arguments.quality, "100.1"), (arguments.positive, "0"), (arguments.natural, "1.5")],
)
def test_numbers_out_of_range(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=text):
        parse(text)


@pytest.mark.parametrize(
    "command",
    [
        ["encode", "a.png", "-q"],
        ["encode", "a.png", "--bpp"],
        ["encode", "a.png", "--psnr"],
        ["encode", "a.png", "--size"],
        ["encode", "a.png", "--max-pixels"],
        ["decode", "a.pli", "--max-pixels"],
        ["compare", "a.png", "--size"],
        ["compare", "a.png", "--bpp"],
        ["compare", "a.png", "-q"],
        ["eval", "photos", "--limit"],
        ["eval", "photos", "--workers"],
        ["train", "pyramid", "photos", "--minutes"],
    ],
)
@pytest.mark.parametrize("text", ["nan", "-1", "inf", "x"])
def test_every_numeric_option_refuses_it(
    command: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, text]) == 2
    said = capsys.readouterr().err
    assert "is not a" in said
    assert "invalid" not in said  # as argparse says it, with the name of a function


@pytest.mark.parametrize(
    "command",
    [
        ["compare", ""],
        ["compare", "a.png", "-o", ""],
        ["eval", ""],
        ["eval", "photos", "-o", ""],
        ["train", "pyramid", ""],
        ["train", "pyramid", "photos", "--output", ""],
        ["train", "pyramid", "photos", "--valid", ""],
        ["train", "pyramid", "photos", "--from", ""],
        ["import", ""],
        ["import", "a.pt", "-o", ""],
        ["data", "kodak", ""],
    ],
)
def test_an_empty_name_is_no_folder(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It would mean the working folder."""
    assert main(command) == 2
    assert "a file name is empty" in capsys.readouterr().err
