"""The coarsest band, coded on ever finer grids from four decoded neighbours of each sample.

First every 8th sample in both directions, then the samples in between, as in interlaced image
formats: three rounds, each in three passes (centres, then the two kinds of edges), luma before
chroma. Mean and scale are integer functions of decoded integers, so they are exact by construction.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pliant.layers.exact import ONE, RateBias, RateVector
from pliant.layers.integers import log_index, round_clamp
from pliant.priors.walk import Schedule, Step

FIRST_STRIDE = 8
COLOURS = (slice(0, 1), slice(1, 3))
FEATURE_MAX = 1023.0  # ten bits; times weights below 2**7 and four features stays far below 2**24
INDEX_OFFSET = 280.0  # log_index of a spread of 1 step (256) is 640: index 22.5 = 360 / 16


@dataclass(frozen=True)
class _Pass:
    """Positions (rows x columns) and the (row, column) indices of the four neighbours of each."""

    rows: Tensor
    columns: Tensor
    neighbours: tuple[tuple[Tensor, Tensor], ...]
    group: int


def _either(positions: Tensor, distance: int, size: int) -> tuple[Tensor, Tensor] | None:
    """Indices at -distance and +distance, reflected at the ends; None when there are none."""
    before, after = positions - distance, positions + distance
    low = torch.where(before < 0, after, before)
    high = torch.where(after >= size, before, after)
    return None if bool((low >= size).any()) or bool((high < 0).any()) else (low, high)


def _every(stride: int, first: int, size: int) -> Tensor:
    return torch.arange(min(first, size), size, stride)


@functools.lru_cache(maxsize=16)
def _plan(height: int, width: int) -> list[_Pass]:
    passes: list[_Pass] = []
    stride, group = FIRST_STRIDE, 1
    while stride > 1:
        half = stride // 2
        row_even, row_odd = _every(stride, 0, height), _every(stride, half, height)
        column_even, column_odd = _every(stride, 0, width), _every(stride, half, width)
        for kind, (rows, columns) in enumerate(
            ((row_odd, column_odd), (row_even, column_odd), (row_odd, column_even))
        ):
            if len(rows) and len(columns):
                around = _around(rows, columns, half, kind, height, width)
                passes.append(_Pass(rows, columns, around, group + kind))
        stride, group = half, group + 3
    return passes


def _around(
    rows: Tensor, columns: Tensor, half: int, kind: int, height: int, width: int
) -> tuple[tuple[Tensor, Tensor], ...]:
    vertical, horizontal = _either(rows, half, height), _either(columns, half, width)
    if kind == 0:
        assert vertical is not None
        assert horizontal is not None
        (up, down), (left, right) = vertical, horizontal
        return (up, left), (down, right), (up, right), (down, left)
    across = [(rows, c) for c in horizontal] if horizontal is not None else []
    along = [(r, columns) for r in vertical] if vertical is not None else []
    return tuple((across or along) + (along or across))


class LowBandPrior(nn.Module):
    """Prior of the coarsest low band (B, 3, h, w), whose symbols are plain integers."""

    GROUPS = 10  # the first grid, then three rounds of three passes

    def __init__(self) -> None:
        super().__init__()
        # log-weights of four features, per group and colour, and the constant of the spread
        self.weight = nn.Parameter(torch.full((self.GROUPS, 2, 4), -1.5))
        self.constant = RateBias(self.GROUPS * 2, 4)
        nn.init.constant_(self.constant.anchors, 1.0)
        with torch.no_grad():
            self.constant.anchors.view(1, -1, self.GROUPS, 2)[:, :, 0] = 60.0

    def _spread(self, features: list[Tensor], group: int, colour: int, constants: Tensor) -> Tensor:
        weights = round_clamp(self.weight[group, colour].exp() * 256.0, 0, 127)
        spread = constants[:, 2 * group + colour][:, None] + 0.0
        for weight, feature in zip(weights, features, strict=False):
            spread = spread + weight * feature.clamp(max=FEATURE_MAX)
        return log_index(spread) - INDEX_OFFSET

    def schedule(self, low: Tensor, rate: RateVector) -> Schedule:
        """Fills `low` (B, 3, h, w), zeros at first, with the symbols that it receives."""
        constants = self.constant.whole(rate)
        first = low[:, :, ::FIRST_STRIDE, ::FIRST_STRIDE]
        for colour, channels in enumerate(COLOURS):
            mean = torch.zeros_like(first[:, channels])
            index = self._spread([], 0, colour, constants).expand_as(mean)
            low[:, channels, ::FIRST_STRIDE, ::FIRST_STRIDE] = yield _step(mean, index)
        for p in _plan(low.shape[2], low.shape[3]):
            rows, columns = p.rows[:, None], p.columns
            luma: Tensor | None = None  # how far luma was from its mean, known when chroma is coded
            for colour, channels in enumerate(COLOURS):
                a, b, c, d = (low[:, channels][:, :, r[:, None], k] for r, k in p.neighbours)
                features = [(a - b).abs(), (c - d).abs(), (a + b - c - d).abs()]
                if luma is not None:
                    features.append(luma)
                mean = (a + b + c + d) * 4.0
                symbols = yield _step(mean, self._spread(features, p.group, colour, constants))
                if not colour:
                    luma = (symbols - torch.floor(mean / ONE)).abs()
                low[:, channels, rows, columns] = symbols


def _step(mean: Tensor, index: Tensor) -> Step:
    return Step(
        index=round_clamp(index * (1 / 16), 0, 63),
        mean=mean,
        wide=True,
    )


def split(low: Tensor) -> list[Tensor]:
    """The band (B, 3, h, w) as one tensor per step."""
    parts = [low[:, c, ::FIRST_STRIDE, ::FIRST_STRIDE] for c in COLOURS]
    for p in _plan(low.shape[2], low.shape[3]):
        parts += [low[:, c][:, :, p.rows[:, None], p.columns] for c in COLOURS]
    return parts


def merge(parts: Sequence[Tensor], low: Tensor) -> int:
    """Writes the leading `parts` into `low`; returns how many were used."""
    it = iter(parts)
    for c in COLOURS:
        low[:, c, ::FIRST_STRIDE, ::FIRST_STRIDE] = next(it)
    plan = _plan(low.shape[2], low.shape[3])
    for p in plan:
        for c in COLOURS:
            low[:, c, p.rows[:, None], p.columns] = next(it)
    return 2 + 2 * len(plan)
