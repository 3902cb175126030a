"""Colours that suit a picture: a rotation of the opponent colours, sent as three angles.

The Karhunen-Loeve transform of a picture's own colours packs more into the first than any fixed
one. Areas differ, and what lies below the quantiser's noise costs nothing, so the encoder looks for
the rotation that costs least: the sum, over small blocks of all bands and over colours, of the
logarithm of variance plus noise (twice the bits that rate-distortion theory asks for).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

ANGLES = 3  # turns of (second, third), (first, third) and (first, second) colour, in this order
UNIT = math.pi / 2**13  # of an angle, radians
_PAIRS = ((1, 2), (0, 2), (0, 1))
_BLOCK = 8  # samples of a band
_BLOCKS = 1500  # that are looked at, spread evenly
_STEPS = tuple(math.pi / 2**n for n in (5, 7, 9, 11, 13))  # of the search
_REACH = 8  # steps to both sides
_WORTH = 4 * 8 * (1 + 2 * ANGLES)  # bits that must be saved: four times what angles take


def rotation(angles: Tensor) -> Tensor:
    """(B, 3) integers in `UNIT` to rotations (B, 3, 3), rows being the new colours."""
    turned = torch.eye(3, dtype=torch.float64, device=angles.device).expand(len(angles), 3, 3)
    for number, (i, j) in enumerate(_PAIRS):
        angle = angles[:, number].double() * UNIT
        turn = torch.eye(3, dtype=torch.float64, device=angles.device).repeat(len(angles), 1, 1)
        turn[:, i, i] = turn[:, j, j] = angle.cos()
        turn[:, i, j], turn[:, j, i] = angle.sin(), -angle.sin()
        turned = turn @ turned
    return turned.float()


def turned(latent: Tensor, turn: Tensor) -> Tensor:
    """Latents (B, 3k, h, w), colour-major, in the colours of rotations (B, 3, 3)."""
    return torch.matmul(turn, latent.reshape(len(latent), 3, -1)).view_as(latent)


@torch.no_grad()
def suitable(details: Sequence[Tensor], noise: Tensor) -> Tensor:
    """The angles (B, 3) that suit pictures, integers in `UNIT`; zeros where turning gains nothing.

    Args:
        details: (B, 9, h, w) bands of each level, colour-major, in levels of pixels.
        noise: (B,) squared error of quantisation.
    """
    rows = [_one([d[b] for d in details], float(noise[b])) for b in range(len(noise))]
    return torch.tensor(rows, device=noise.device)


def _one(details: list[Tensor], noise: float) -> list[int]:
    products, samples = _products(details)
    best = torch.zeros(ANGLES, dtype=torch.float64)
    least = unturned = float(_cost(best[None], products, noise)[0])
    offsets = torch.arange(-_REACH, _REACH + 1, dtype=torch.float64)
    for step in _STEPS:
        for number in range(ANGLES):
            tried = best.repeat(len(offsets), 1)
            tried[:, number] += offsets * (step / UNIT)
            found, at = _cost(tried, products, noise).min(0)
            if float(found) < least:
                least, best = float(found), tried[at]
    saved = 0.5 * (unturned - least) / math.log(2) * samples
    return [int(a) for a in best.round()] if saved > _WORTH else [0] * ANGLES


def _products(details: list[Tensor]) -> tuple[Tensor, int]:
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
    return covariance[:, places[0], places[1]].T.contiguous().cpu(), samples


def _every(grid: Tensor, every: int) -> Tensor:
    """Every so many blocks of a grid (bands, rows, columns, 3, h, w): (n, 3, h * w)."""
    shape = grid.shape[:3]
    places = torch.unravel_index(torch.arange(0, math.prod(shape), every), shape)
    return grid[places].flatten(2).float()


def _cost(angles: Tensor, products: Tensor, noise: float) -> Tensor:
    """Mean over blocks of the sum over colours of log(variance + noise), for each of (K, 3)."""
    turn = rotation(angles)
    a, b, c = turn.unbind(2)
    weights = torch.stack((a * a, b * b, c * c, 2 * a * b, 2 * a * c, 2 * b * c), 2)
    variance = (weights.flatten(0, 1) @ products).clamp_(min=0)
    return (variance + noise).log_().view(len(angles), 3, -1).mean(2).double().sum(1)
