"""The three drivers that walk a prior's schedule: bits (training), write (encode), read (decode).

A prior describes *once* what is coded in which order from which context: `schedule` is a generator
that yields a `Step` and receives the symbols of that step. What it has received is the only context
that it may use, so encoder, decoder and estimate cannot drift apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pliant.entropy import rans
from pliant.entropy.tables import SYMBOL_LIMIT, Array, Tables
from pliant.errors import DamagedError
from pliant.layers import loops, trellis
from pliant.layers.exact import RateVector
from pliant.layers.quantize import choose_symbols, symbol_bits


@dataclass(frozen=True)
class Step:
    """One pass: the symbols coded together, independent of each other given what came before.

    Attributes:
        index: (B, C, H, W) table index (scale), integers in [0, SCALES), float32 or uint8.
        mean: (B, C, H, W) means in 1/16 steps, integers, float32 or, with uint8 indices, int16.
        wide: whether means may leave 16 bits; the coder then gets only their fractions.
        on_trellis: whether symbols are half-steps on the trellis of `entropy/trellis.py`.
        meanwhile: work of later steps that needs no symbols of this one; may be called while they
            are read.
    """

    index: Tensor
    mean: Tensor
    wide: bool = False
    on_trellis: bool = False
    meanwhile: Callable[[], object] | None = None

    def centred(self) -> tuple[Tensor, Tensor]:
        """(centre, mean for the coder): what is subtracted from symbols, and the mean that is left.

        The coder would subtract the centre itself, so the stream is the same.
        """
        if not self.wide:
            return torch.zeros(()), self.mean
        centre = torch.floor((self.mean + 8) / 16)
        return centre, self.mean - 16 * centre

    def choose(self, part: Tensor, strength: float) -> Tensor:
        """The symbols (B, C, H, W) for latents in the symbols' unit, by rate and distortion.

        Args:
            strength: of rate; 1 follows the slope of the rate-distortion curve at high rate, 0
                leaves error alone.
        """
        part = part.contiguous(memory_format=torch.channels_last)  # mixed layouts are slow
        if self.on_trellis:
            chosen = trellis.choose(part, self.mean, self.index, strength, LARGEST)
            return chosen.to(part.device)
        mean, index = (x.detach().float() for x in (self.mean, self.index))
        return choose_symbols(part, mean, index, strength).clamp_(-LARGEST, LARGEST)

    def rounded(self, part: Tensor) -> Tensor:
        """The symbols nearest to the latents; gradients pass to the latents as they are."""
        return part + (self.choose(part.detach(), 0.0) - part).detach()

    def reconstruct(self, symbols: Tensor) -> Tensor:
        """What the synthesis gets for symbols, in their units; the schedule gets the symbols."""
        return symbols

    def shown(self, part: Tensor, noise: Tensor) -> Tensor:
        """What the synthesis gets of latents in training; `noise` are the latents with noise."""
        return noise

    def bits(self, symbols: Tensor) -> Tensor:
        """Ideal cost of symbols (B, C, H, W), each; differentiable in mean and index."""
        cost = trellis.bits if self.on_trellis else symbol_bits
        return cost(symbols, self.mean, self.index)


LARGEST = SYMBOL_LIMIT // 2  # of a symbol; its distance to any mean then fits the coder

Schedule = Generator[Step, Tensor, None]


class Prior(Protocol):
    """What the drivers need of a prior; latents are coarse first, in the units of their symbols.

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


@runtime_checkable
class RealPrior(Protocol):
    """A prior of real arithmetic, which can say all of its steps at once."""

    def parallel(
        self, latents: Sequence[Tensor], size: tuple[int, int], rate: RateVector
    ) -> Sequence[Step]:
        """The step of each whole latent, knowing only what its schedule would know."""
        ...


def walked(
    prior: Prior,
    parts: Sequence[Tensor],
    size: tuple[int, int],
    rate: RateVector,
    choose: Callable[[Step, Tensor], Tensor],
) -> Iterator[tuple[Step, Tensor]]:
    """The steps of a schedule, each with the symbols that `choose` makes of its part.

    Args:
        parts: (B, C, H, W) for each step, as `Prior.split` gives them.
        choose: from a step and its part to its symbols, of the same shape.

    Raises:
        ValueError: there are more parts than steps.
    """
    schedule = prior.schedule(size, rate)
    step: Step | None = next(schedule)
    for part in parts:
        if step is None:
            raise ValueError("the prior's schedule ended before its latents")
        symbols = choose(step, part)
        yield step, symbols
        step = _advance(schedule, symbols)


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
        latents: real tensors in the units of their symbols.
        strength: of rate when symbols are chosen, see `Step.choose`.

    Returns:
        (B,) bits of each picture, and what the synthesis gets of the symbols, one tensor per step.
    """
    total = torch.zeros(len(rate.rate))
    chosen: list[Tensor] = []
    parts = prior.split(latents)
    steps = walked(prior, parts, size, rate, lambda s, y: s.choose(y.detach(), strength).float())
    for step, symbols in steps:
        total = total.to(symbols.device) + step.bits(symbols).sum((1, 2, 3))
        chosen.append(step.reconstruct(symbols))
    return total, chosen


def noisy(
    prior: Prior,
    latents: Sequence[Tensor],
    size: tuple[int, int],
    rate: RateVector,
    shows_noise: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Surrogate cost, differentiable in the latents as well, and what the synthesis gets.

    The rate is that of the latents with uniform noise of one step (Balle et al., "End-to-end
    Optimized Image Compression", ICLR 2017, eq. 10). Context and synthesis see the same noise where
    the prior is one of real arithmetic; exact ones need integers and get rounded latents, with
    straight-through gradients (Minnen and Singh, "Channel-wise Autoregressive Entropy Models for
    Learned Image Compression", ICIP 2020, section 3.3).

    Where steps have offsets, the synthesis gets rounded latents too.

    Args:
        shows_noise: whether the synthesis gets latents with noise even of an exact prior, as all of
            its values had it when priors were first learned (ICLR 2017, section 3).

    Returns:
        (B,) bits of each picture, and the latents, coarse first.
    """
    noise = [y + (torch.rand_like(y) - 0.5) for y in latents]
    total = torch.zeros(len(rate.rate), device=latents[0].device)
    values: list[Tensor] = []
    if isinstance(prior, RealPrior):
        for step, part, near in zip(prior.parallel(noise, size, rate), latents, noise, strict=True):
            total = total + step.bits(near).sum((1, 2, 3))
            values.append(step.shown(part, near))
        return total, values
    steps = walked(prior, prior.split(latents), size, rate, _rounded)
    for (step, symbols), near in zip(steps, prior.split(noise), strict=True):
        total = total + step.bits(near).sum((1, 2, 3))
        values.append(near if shows_noise else step.reconstruct(symbols))
    return total, prior.merge(values, size)


def _rounded(step: Step, part: Tensor) -> Tensor:
    if step.on_trellis:
        raise ValueError("values on the trellis have no surrogate cost")
    return step.rounded(part)


def taught(
    prior: Prior, parts: Sequence[Tensor], size: tuple[int, int], rate: RateVector
) -> Iterator[Step]:
    """The steps of a schedule that receives these parts."""
    return (step for step, _ in walked(prior, parts, size, rate, lambda _, part: part))


def _flat(x: Tensor, dtype: torch.dtype) -> np.ndarray:
    """(1, C, H, W) in the order of the file: rows, columns, then channels."""
    return x.permute(0, 2, 3, 1).to(dtype).contiguous().cpu().numpy().ravel()


def _unflat(values: np.ndarray, like: Tensor) -> Tensor:
    """Inverse of `_flat` in the shape and on the device of `like`: int32, or float32 if it is."""
    batch, channels, height, width = like.shape
    rows = torch.from_numpy(values).view(batch, height, width, channels).permute(0, 3, 1, 2)
    return rows.to(like.device, torch.float32) if like.is_floating_point() else rows


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
        latents: real tensors in the units of their symbols.
        strength: of rate when symbols are chosen, see `Step.choose`.
        hash_start: binds the stream to what surrounds it; `read` must get the same.
    """
    encoder = rans.Encoder(tables, hash_start)
    _give(encoder, prior, latents, size, rate, strength)
    return encoder.finish(encoder.hash)


@torch.inference_mode()
def uses(
    prior: Prior,
    latents: Sequence[Tensor],
    size: tuple[int, int],
    rate: RateVector,
    tables: Tables,
    strength: float,
) -> Array:
    """How often `write` would use each entry of the tables, int64 [entries]."""
    encoder = rans.Encoder(tables)
    _give(encoder, prior, latents, size, rate, strength)
    return encoder.uses()


def _give(
    encoder: rans.Encoder,
    prior: Prior,
    latents: Sequence[Tensor],
    size: tuple[int, int],
    rate: RateVector,
    strength: float,
) -> None:
    """Chooses the symbols and gives them to the encoder."""
    parts = prior.split(latents)
    for step, chosen in walked(prior, parts, size, rate, lambda s, y: s.choose(y, strength)):
        centre, mean = step.centred()
        # real means leave a rounding error that must not be cut down
        symbols = _flat((chosen - centre).round() if step.wide else chosen, torch.int32)
        index = _flat(step.index, torch.uint8)
        encoder.add(symbols, index, _flat(mean, torch.int16), step.on_trellis)


@torch.inference_mode()
def read(
    prior: Prior,
    data: bytes,
    size: tuple[int, int],
    rate: RateVector,
    tables: Tables,
    hash_start: int = rans.HASH_START,
) -> list[Tensor]:
    """Decodes what `write` wrote: latents, coarse first; integers unless steps reconstruct.

    Raises:
        DamagedError: the stream is damaged, belongs elsewhere or was written with other weights.
    """
    decoder = rans.Decoder(data, tables, hash_start)
    schedule = prior.schedule(size, rate)
    step: Step | None = next(schedule)
    parts: list[Tensor] = []
    while step is not None:
        centre, mean = step.centred()
        index = _flat(step.index, torch.uint8)
        arguments = index, _flat(mean, torch.int16), step.on_trellis
        if step.meanwhile is None or index.size < loops.SMALLEST:
            values = decoder.read(*arguments)
        else:
            values = _beside(step.meanwhile, functools.partial(decoder.read, *arguments))
        symbols = _unflat(values, step.index)
        if step.wide:
            symbols = (symbols + centre).contiguous()
            if float(symbols.abs().max()) > LARGEST:
                raise DamagedError("a symbol is out of range")
        parts.append(step.reconstruct(symbols))
        step = _advance(schedule, symbols)
    decoder.finish(decoder.hash)
    return prior.merge(parts, size)


def _beside(work: Callable[[], object], task: Callable[[], np.ndarray]) -> np.ndarray:
    """What the task returns; the work is done at the same time."""
    results: list[np.ndarray] = []

    def worked() -> None:
        with torch.inference_mode():
            work()

    # mostly this thread takes the first, so large buffers come from where it finds them again
    loops.at_once([worked, lambda: results.append(task())])
    return results[0]
