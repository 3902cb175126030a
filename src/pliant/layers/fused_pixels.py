"""The last loop of decoding (numba); see `fused` for its rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from pliant.entropy.jit import jit

_F = np.float32
_I = np.int32


@jit
def interleave(first: Any, last: Any, planes: Any, pixels: Any) -> None:
    """Rounded, within [0, 255]; float32 [C, h, w] to uint8 [h, w, C]."""
    for y in range(first, last):
        target = pixels[y]
        for c in range(len(planes)):
            source = planes[c, y]
            for x in range(len(target)):
                target[x, c] = np.uint8(_I(min(max(np.rint(source[x]), _F(0)), _F(255))))
