"""Settings of the process that keep small networks fast.

Call `prepare` before torch is imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

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
