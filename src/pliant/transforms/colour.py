"""Colours that suit a picture: a rotation of the opponent colours, sent as three angles.

The Karhunen-Loeve transform of a picture's own colours packs more into the first than any fixed
one. Areas differ, and what lies below the quantiser's noise costs nothing, so the encoder looks for
the rotation that costs least: the sum, over small blocks of all bands and over colours, of the
logarithm of variance plus noise (twice the bits that rate-distortion theory asks for).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

ANGLES = 3  # turns of (second, third), (first, third) and (first, second) colour, in this order
ONE = 4096  # an angle is sent as the tangent of its half, in units of 1 / ONE
_PAIRS = ((1, 2), (0, 2), (0, 1))
_BLOCK = 8  # samples of a band
_BLOCKS = 1500  # that are looked at, spread evenly
_STEPS = (256, 64, 16, 4, 1)  # of the search
_REACH = 8  # steps to both sides: 53 degrees at first
_WORTH = 4 * 8 * (1 + 2 * ANGLES)  # bits that must be saved: four times what angles take


def rotation(angles: Tensor) -> Tensor:
    """(B, 3) tangents of half angles in 1 / ONE to rotations (B, 3, 3), rows being new colours."""
    found = _rotations(angles.cpu().double().numpy())
    return torch.from_numpy(found).to(angles.device, torch.float32)


def _rotations(angles: Array) -> Array:
    """`rotation` in float64, without anything that machines could round differently."""
    whole = np.tile(np.eye(3), (len(angles), 1, 1))
    for (i, j), tangent in zip(_PAIRS, angles.T[:, :, None] / ONE, strict=True):
        square = tangent * tangent
        cosine, sine = (1 - square) / (1 + square), 2 * tangent / (1 + square)
        first, second = whole[:, i].copy(), whole[:, j].copy()
        whole[:, i] = cosine * first + sine * second
        whole[:, j] = cosine * second - sine * first
    return whole


def turned(latent: Tensor, turn: Tensor, offset: float = 0.0) -> Tensor:
    """Latents (B, 3k, h, w), colour-major, in the colours of rotations (B, 3, 3), plus `offset`."""
    samples = latent.reshape(len(latent), 3, -1)
    turns = turn.expand(len(latent), 3, 3)
    return torch.baddbmm(turn.new_full((1, 1, 1), offset), turns, samples).view_as(latent)


def turned_exactly(latent: Tensor, angles: Tensor, back: bool = False) -> Tensor:
    """`turned` by integers (B, 3) for latents of integers, which come back with `back`.

    Each turn is three lifting steps (Bruekers and van den Enden, "New Networks for Perfect
    Inversion and Perfect Reconstruction", 1992), with factors that every machine rounds alike.
    """
    colours = list(latent.unflatten(1, (3, -1)).unbind(1))
    lifts = [lift for number, pair in enumerate(_PAIRS) for lift in _lifts(pair, angles[:, number])]
    for i, j, factor in reversed(lifts) if back else lifts:
        change = (colours[j] * factor).round()
        colours[i] = colours[i] - change if back else colours[i] + change
    return torch.stack(colours, 1).flatten(1, 2)


def _lifts(pair: tuple[int, int], tangents: Tensor) -> list[tuple[int, int, Tensor]]:
    """(changed colour, other colour, factor (B, 1, 1, 1)) of the three steps of a turn."""
    whole = [int(t) for t in tangents.tolist()]
    sines = [_rounded(2 * t * ONE * ONE, ONE * ONE + t * t) for t in whole]
    tangent, sine = (
        torch.tensor(n, device=tangents.device).view(-1, 1, 1, 1) / ONE for n in (whole, sines)
    )
    i, j = pair
    return [(i, j, tangent), (j, i, -sine), (i, j, tangent)]


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


@torch.no_grad()
def suitable(details: Sequence[Tensor], noise: Tensor) -> Tensor:
    """The angles (B, 3) that suit pictures, see `rotation`; zeros where turning gains nothing.

    Args:
        details: (B, 9, h, w) bands of each level, colour-major, in levels of pixels.
        noise: (B,) squared error of quantisation.
    """
    rows = [_one([d[b] for d in details], float(noise[b])) for b in range(len(noise))]
    return torch.tensor(rows, device=noise.device)


def _one(details: list[Tensor], noise: float) -> list[int]:
    products, samples = _products(details)
    best = np.zeros(ANGLES)
    least = unturned = _costs(best[None], products, noise)[0]
    offsets = np.arange(-_REACH, _REACH + 1.0)
    for step in _STEPS:
        for number in range(ANGLES):
            tried = np.tile(best, (len(offsets), 1))
            tried[:, number] += offsets * step
            found = _costs(tried, products, noise)
            at = int(found.argmin())
            if found[at] < least:
                least, best = found[at], tried[at]
    saved = 0.5 * (unturned - least) / math.log(2) * samples
    return [int(a) for a in best] if saved > _WORTH else [0] * ANGLES


def _products(details: list[Tensor]) -> tuple[Array, int]:
    """Mean products of colours in blocks (6, n), squares first; how many samples a picture has."""
    grids = []
    for d in details:
        height, width = (n // _BLOCK * _BLOCK for n in d.shape[1:])
        cut = d.unflatten(0, (3, -1))[:, :, :height, :width]
        cut = cut.unflatten(3, (-1, _BLOCK)).unflatten(2, (-1, _BLOCK))
        grids.append(cut.permute(1, 2, 4, 0, 3, 5))  # band, row, column; colour, samples
    every = -(-sum(math.prod(g.shape[:3]) for g in grids) // _BLOCKS)
    some = torch.cat([_every(g, every) for g in grids])
    covariance = some @ some.transpose(1, 2) / some.shape[2]
    places = torch.triu_indices(3, 3)[:, [0, 3, 5, 1, 2, 4]]
    samples = sum(d[0].numel() * 3 for d in details)
    return covariance[:, places[0], places[1]].T.contiguous().cpu().numpy(), samples


def _every(grid: Tensor, every: int) -> Tensor:
    """Every so many blocks of a grid (bands, rows, columns, 3, h, w): (n, 3, h * w)."""
    shape = grid.shape[:3]
    places = torch.unravel_index(torch.arange(0, math.prod(shape), every), shape)
    return grid[places].flatten(2).float()


def _costs(angles: Array, products: Array, noise: float) -> Array:
    """Mean over blocks of the sum over colours of log(variance + noise), for each of (K, 3)."""
    a, b, c = np.moveaxis(_rotations(angles), 2, 0)
    weights = np.stack((a * a, b * b, c * c, 2 * a * b, 2 * a * c, 2 * b * c), 2)
    variance = weights.reshape(-1, 6).astype(np.float32) @ products
    logarithms = np.log(np.maximum(variance, 0) + np.float32(noise))
    found: Array = logarithms.reshape(len(angles), 3, -1).mean(2, dtype=np.float64).sum(1)
    return found
