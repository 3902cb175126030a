"""The three drivers that walk a prior's schedule: bits (training), write (encode), read (decode).

A prior describes *once* what is coded in which order from which context: `schedule` is a generator
that yields a `Step` and receives the symbols of that step. What it has received is the only context
that it may use, so encoder, decoder and estimate cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pliant.entropy import rans
from pliant.entropy.tables import SYMBOL_LIMIT, Tables
from pliant.errors import DamagedError
from pliant.layers.exact import RateVector
from pliant.layers.quantize import choose_integers, choose_symbols, laplace_bits


@dataclass(frozen=True)
class Step:
    """One pass: the symbols coded together, independent of each other given what came before.

    Attributes:
        index: (B, C, H, W) table index (scale), integers in [0, SCALES), float32 or uint8.
        mean: (B, C, H, W) means in 1/16 steps, integers, float32 or, with uint8 indices, int16.
        wide: whether means may leave 16 bits; the coder then gets only their fractions.
    """

    index: Tensor
    mean: Tensor
    wide: bool = False

    def centred(self) -> tuple[Tensor, Tensor]:
        """(centre, mean for the coder): what is subtracted from symbols, and the mean that is left.

        The coder would subtract the centre itself, so the stream is the same.
        """
        if not self.wide:
            return torch.zeros(()), self.mean
        centre = torch.floor((self.mean + 8) / 16)
        return centre, self.mean - 16 * centre


LARGEST = SYMBOL_LIMIT // 2  # of a symbol; its distance to any mean then fits the coder

Schedule = Generator[Step, Tensor, None]


class Prior(Protocol):
    """What the drivers need of a prior; `latents` are coarse first, in quantiser steps.

    Attributes:
        dtype: of activations: float32, bfloat16 (training) or uint8 (int8 kernels).
    """

    dtype: torch.dtype

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """Yields the steps of a picture of padded `size` (height, width), receives the symbols."""
        ...

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """The latents as one tensor (B, C, H, W) per step, in the order of the schedule."""
        ...

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Inverse of `split`."""
        ...


def _advance(schedule: Schedule, symbols: Tensor) -> Step | None:
    try:
        return schedule.send(symbols)
    except StopIteration:
        return None


def bits(
    prior: Prior,
    latents: Sequence[Tensor],
    size: tuple[int, int],
    rate: RateVector,
    strength: float,
) -> tuple[Tensor, list[Tensor]]:
    """Ideal cost of the latents, differentiable in the prior, and the symbols that were chosen.

    Args:
        latents: real tensors in quantiser steps.
        strength: of rate-distortion-optimised rounding, see `choose_symbols`.

    Returns:
        (B,) bits of each picture, and the symbols as one tensor per step.
    """
    schedule = prior.schedule(size, rate)
    step: Step | None = next(schedule)
    total = torch.zeros(len(rate.rate))
    chosen: list[Tensor] = []
    for part in prior.split(latents):
        if step is None:
            raise ValueError("the prior's schedule ended before its latents")
        part = _like_the_networks(part.detach())
        symbols = choose_symbols(part, step.mean.detach(), step.index.detach(), strength)
        total = total.to(part.device) + laplace_bits(symbols, step.mean, step.index).sum((1, 2, 3))
        chosen.append(symbols)
        step = _advance(schedule, symbols)
    return total, chosen


def _like_the_networks(part: Tensor) -> Tensor:
    """Into the layout of the networks' outputs: mixed layouts would slow every operation down."""
    return part.contiguous(memory_format=torch.channels_last)


def _flat(x: Tensor, dtype: torch.dtype) -> np.ndarray:
    """(1, C, H, W) in the order of the file: rows, columns, then channels."""
    return x.permute(0, 2, 3, 1).to(dtype).contiguous().cpu().numpy().ravel()


def _unflat(values: np.ndarray, like: Tensor) -> Tensor:
    """Inverse of `_flat` in the shape and on the device of `like`: int32, or float32 if it is."""
    batch, channels, height, width = like.shape
    rows = torch.from_numpy(values).view(batch, height, width, channels).permute(0, 3, 1, 2)
    return rows.to(like.device, torch.float32) if like.is_floating_point() else rows


def _choose(part: Tensor, step: Step, strength: float) -> Tensor:
    if step.index.dtype == torch.uint8:
        return choose_integers(part, step.mean, step.index, strength, LARGEST)
    chosen = choose_symbols(part, step.mean, step.index, strength)
    return chosen.clamp_(-LARGEST, LARGEST)


@torch.inference_mode()
def write(
    prior: Prior,
    latents: Sequence[Tensor],
    size: tuple[int, int],
    rate: RateVector,
    tables: Tables,
    strength: float,
    hash_start: int = rans.HASH_START,
) -> bytes:
    """Chooses the symbols of one tile (B = 1) and codes them, with a hash of all of them.

    Args:
        latents: real tensors in quantiser steps.
        strength: of rate-distortion-optimised rounding, see `choose_symbols`.
        hash_start: binds the stream to what surrounds it; `read` must get the same.
    """
    schedule = prior.schedule(size, rate)
    step: Step | None = next(schedule)
    encoder = rans.Encoder(tables, hash_start)
    for part in prior.split(latents):
        if step is None:
            raise ValueError("the prior's schedule ended before its latents")
        chosen = _choose(_like_the_networks(part), step, strength)
        centre, mean = step.centred()
        symbols = _flat(chosen - centre if step.wide else chosen, torch.int32)
        encoder.add(symbols, _flat(step.index, torch.uint8), _flat(mean, torch.int16))
        step = _advance(schedule, chosen)
    return encoder.finish(encoder.hash)


@torch.inference_mode()
def read(
    prior: Prior,
    data: bytes,
    size: tuple[int, int],
    rate: RateVector,
    tables: Tables,
    hash_start: int = rans.HASH_START,
) -> list[Tensor]:
    """Decodes what `write` wrote: integer latents, coarse first.

    Raises:
        DamagedError: the stream is damaged, belongs elsewhere or was written with other weights.
    """
    decoder = rans.Decoder(data, tables, hash_start)
    schedule = prior.schedule(size, rate)
    step: Step | None = next(schedule)
    parts: list[Tensor] = []
    while step is not None:
        centre, mean = step.centred()
        values = decoder.read(_flat(step.index, torch.uint8), _flat(mean, torch.int16))
        symbols = _unflat(values, step.index)
        if step.wide:
            symbols = symbols + centre
            if float(symbols.abs().max()) > LARGEST:
                raise DamagedError("a symbol is out of range")
        parts.append(symbols)
        step = _advance(schedule, symbols)
    decoder.finish(decoder.hash)
    return prior.merge(parts, size)
