"""``python -m pliant``."""

from pliant.cli.main import program

program()
