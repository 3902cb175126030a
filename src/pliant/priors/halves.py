"""The slices of MSINN in the order of coding: coarse to fine, each in two halves."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pliant.layers.cells import A, B, Cells, put, take


def halves(number: int) -> tuple[Cells, Cells]:
    """The cells of a slice that are coded first, and the others: in turns."""
    return (A, B) if number % 2 else (B, A)


def split(slices: Sequence[Tensor]) -> list[Tensor]:
    """The slices as one tensor per step."""
    return [take(y, cells) for number, y in enumerate(slices) for cells in halves(number)]


def whole(number: int, parts: Sequence[Tensor]) -> Tensor:
    """A slice from its halves, as `split` gave them."""
    batch, planes, height, width = parts[0].shape
    joined = parts[0].new_zeros(batch, planes // len(A), 2 * height, 2 * width)
    for cells, part in zip(halves(number), parts, strict=True):
        put(joined, cells, part)
    return joined


def merge(parts: Sequence[Tensor]) -> list[Tensor]:
    """Inverse of `split`."""
    return [whole(number, parts[2 * number :][:2]) for number in range(len(parts) // 2)]
