"""The program's entry, also of ``python -m pliant``: it imports nothing until it catches Ctrl-C."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def program() -> NoReturn:
    """Run the command line as a process; interrupted it gives 130, even while it starts or ends."""
    try:
        from pliant.cli.main import program as run

        run()
    except KeyboardInterrupt:
        try:
            os.write(2, b"pliant: interrupted\n")
        finally:
            os._exit(130)


if __name__ == "__main__":
    program()
