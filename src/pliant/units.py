"""Numbers on which file, networks and command line must agree. Standard library only."""

from __future__ import annotations

from typing import Final

ANCHORS: Final = 9
"""Rate anchors of a model; gains and biases are interpolated in between."""

RATE_UNIT: Final = 256
"""Rate parameters from one anchor to the next: one octave of the quantiser step."""

RATE_MAX: Final = RATE_UNIT * (ANCHORS - 1) - 1
"""The coarsest rate parameter; 0 is the finest."""

ONE_TILE_PIXELS: Final = 4 << 20
"""Pictures of up to so many pixels are one tile, and pass through the transform in one block."""

FINEST_RESTORED: Final = 2 * RATE_UNIT
"""The finest rate parameter whose pictures are restored after the synthesis."""
