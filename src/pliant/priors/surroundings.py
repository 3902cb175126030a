"""What one level of the pyramid prior has seen, as activations: coarser levels, then its passes.

Two ways to the same integers: torch operations, which define them, and compiled loops for uint8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pliant.layers import loops
from pliant.layers.cells import A, B, take
from pliant.layers.integers import (
    distribution,
    level_of,
    log_index,
    magnitudes,
    signed_planes,
)
from pliant.priors.lowband import INDEX_OFFSET
from pliant.priors.walk import Step

PARENT, CONTRAST = 9, 12  # planes
# Of the heads' corrections, in 1/16 indices: an activation of 1.0 with a weight of 1 changes the
# scale by 1.6 octaves. With 0.2 octaves it learned too slowly.
CORRECTION_UNIT = 8.0


def local_contrast(picture: Tensor) -> Tensor:
    """(B, 3, h, w) integers to (B, 12, h/2, w/2), cell-major, rounded to integers.

    Each sample less the blurred mean around its 2x2 block.
    """
    cells = take(picture, (*A, *B))
    total = cells.view(len(cells), 4, 3, *cells.shape[2:]).sum(1)
    padded = F.pad(total, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    blurred = rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]
    return (cells - blurred.repeat(1, 4, 1, 1) * (1 / 64)).round_()


@dataclass
class Context:
    """What one level sees of the coarser ones; its own grid is h x w."""

    parent: Tensor  # (B, 9, h, w) symbols, integers
    picture: Tensor  # (B, 3, 2h, 2w) integers
    state: Tensor  # (B, ., h, w) or half of it in both directions: activations
    on_trellis: bool  # the symbols of this level


class Surroundings(Protocol):
    """Grows by the symbols of every pass.

    Attributes:
        inputs: (B, ., h, w) activations: the coarser levels.
    """

    inputs: Tensor

    def around(self) -> Tensor:
        """(B, ., h, w) magnitudes of all that is known."""
        ...

    def expect(self, spread: Tensor) -> tuple[Tensor, Tensor]:
        """From the expected spread of the next symbols: scale, and what is near them.

        Near them are the signed planes of the level's symbols so far, and the scale as activations.
        """
        ...

    def step(self, out: Tensor, scale: Tensor) -> Step:
        """From a head's means and corrections (B, 2P, h, w) and the scale."""
        ...

    def tell(self, symbols: Tensor) -> None:
        """The symbols of the pass."""
        ...

    def own(self) -> Tensor:
        """Signed planes of all symbols of the level."""
        ...


def surroundings(context: Context, planes: int, dtype: torch.dtype) -> Surroundings:
    """What a level sees before its first pass; it will tell `planes` planes of its own."""
    kind = _Compiled if dtype == torch.uint8 else _Plain
    return kind(context, planes, dtype)


class _Plain:
    def __init__(self, context: Context, _planes: int, dtype: torch.dtype) -> None:
        self.dtype, self.on_trellis = dtype, context.on_trellis
        seen = (context.parent, local_contrast(context.picture))
        state = F.interpolate(context.state, size=seen[0].shape[2:], mode="nearest")
        inputs = torch.cat([*(signed_planes(x, dtype) for x in seen), state.to(dtype)], 1)
        self.inputs = inputs.contiguous(memory_format=torch.channels_last)
        around = torch.cat([magnitudes(x, dtype) for x in seen], 1)
        self.known = [around.contiguous(memory_format=torch.channels_last)]
        self.features: list[Tensor] = []

    def around(self) -> Tensor:
        return torch.cat(self.known, 1)

    def expect(self, spread: Tensor) -> tuple[Tensor, Tensor]:
        scale = log_index(spread) - INDEX_OFFSET
        return scale, torch.cat([*self.features, level_of(scale).to(self.dtype)], 1)

    def step(self, out: Tensor, scale: Tensor) -> Step:
        mean, correction = out.chunk(2, 1)
        index, mean = distribution(mean, correction * CORRECTION_UNIT, scale)
        return Step(index=index, mean=mean, on_trellis=self.on_trellis)

    def tell(self, symbols: Tensor) -> None:
        self.known.append(magnitudes(symbols, self.dtype))
        self.features.append(signed_planes(symbols, self.dtype))

    def own(self) -> Tensor:
        return torch.cat(self.features, 1)


class _Compiled:
    """All activations lie in two buffers, whose leading channels are known."""

    def __init__(self, context: Context, planes: int, _dtype: torch.dtype) -> None:
        from pliant.layers import fused

        self.loops, self.on_trellis = fused, context.on_trellis
        batch, _, height, width = context.parent.shape
        grid, u8 = (height, width), torch.uint8
        self.count = batch * height * width
        channels = 2 * (PARENT + CONTRAST) + context.state.shape[1]
        self.inputs, inputs = loops.empty((batch, channels, *grid), u8)
        self._around, around = loops.empty((batch, PARENT + CONTRAST + planes, *grid), u8)
        self._near, near = loops.empty((batch, 2 * planes, *grid), u8)
        self.memory = loops.positions(around), loops.positions(near)
        self.known = 0
        picture = loops.array(context.picture)
        total = torch.empty(batch, 3, *grid).numpy()
        rows, halves = total.reshape(-1, width), picture.reshape(-1, 2 * width)
        loops.in_slices(fused.totals, len(rows), width, halves, rows)
        state = loops.channels_last(context.state.to(u8))
        seen = loops.array(context.parent), picture, total, state
        loops.in_slices(fused.begin, batch * height, channels * width, *seen, inputs, around)

    def around(self) -> Tensor:
        return self._around[:, : PARENT + CONTRAST + self.known]

    def expect(self, spread: Tensor) -> tuple[Tensor, Tensor]:
        scale, target = loops.empty(tuple(spread.shape), torch.int16)
        planes, at = spread.shape[1], 2 * self.known
        source = loops.positions(loops.channels_last(spread))
        arguments = source, np.float32(INDEX_OFFSET), loops.positions(target), self.memory[1], at
        loops.in_slices(self.loops.expect, self.count, planes, *arguments)
        return scale, self._near[:, : at + planes]

    def step(self, out: Tensor, scale: Tensor) -> Step:
        index, indices = loops.empty(tuple(scale.shape), torch.uint8)
        mean, means = loops.empty(tuple(scale.shape), torch.int16)
        arrays = (loops.channels_last(out), loops.channels_last(scale), indices, means)
        source, scales, *targets = (loops.positions(x) for x in arrays)
        arguments = source, np.float32(CORRECTION_UNIT), scales, *targets
        loops.in_slices(self.loops.distribute, self.count, scale.shape[1], *arguments)
        return Step(index=index, mean=mean, on_trellis=self.on_trellis)

    def tell(self, symbols: Tensor) -> None:
        source = loops.positions(loops.channels_last(symbols.to(torch.int32)))
        around, near = self.memory
        arguments = source, around, PARENT + CONTRAST + self.known, near, 2 * self.known
        loops.in_slices(self.loops.tell, self.count, symbols.shape[1], *arguments)
        self.known += symbols.shape[1]

    def own(self) -> Tensor:
        return self._near
