"""The entry of the program: Ctrl-C is never a traceback, also before and after the command."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORTS = """
class Interrupted:
    def find_spec(self, name, *_):
        if name == "pliant.cli.main":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
"""
LEAVES = """
import pliant.cli.main
def leave():
    raise KeyboardInterrupt
pliant.cli.main.program = leave
"""


@pytest.mark.parametrize("moment", [IMPORTS, LEAVES], ids=["starts", "ends"])
@pytest.mark.parametrize("closed", [False, True])
def test_an_interrupt_is_130_and_one_line(moment: str, closed: bool) -> None:
    code = f"import os, sys\n{moment}\n{'os.close(2)' if closed else ''}\n"
    code += "from pliant.__main__ import program\nprogram()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == ("" if closed else "pliant: interrupted\n")


def test_little_is_imported_before_interrupts_are_caught() -> None:
    code = "import sys; before = set(sys.modules); import pliant.__main__; "
    code += "print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"__future__", "pliant", "pliant.__main__"}
