"""Settings of the process that keep small networks fast, and seconds per stage of the work.

Call `prepare` before torch is imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Iterator

Timings = dict[str, float]
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def prepare() -> None:
    """Keeps threads from spinning beside busy neighbours, large buffers from being mapped anew.

    Activations above 32 MB are otherwise mapped and unmapped by every operation, and each page
    faults: 5 to 25 % of the time at 1080p, more for larger pictures. glibc only; elsewhere nothing
    happens.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def stage(timings: Timings | None, name: str) -> Iterator[None]:
    """Adds the seconds that the body takes to `timings`, if given."""
    started = time.perf_counter()
    yield
    if timings is not None:
        timings[name] = timings.get(name, 0.0) + time.perf_counter() - started
