"""An exact prior for the slices of MSINN: their context comes from decoded integers alone.

The published one inverts the flow in floating point, so another machine may decode something else.
Here small integer networks say mean and scale; a state takes the place of the inverse.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.anchor_gains import AnchorGains
from pliant.layers.cells import A
from pliant.layers.exact import ExactLayer, RateVector
from pliant.priors.centred import CentredStep
from pliant.priors.factorized import FactorizedPrior
from pliant.priors.halves import merge, split, whole
from pliant.priors.spread import SpreadHead, seen
from pliant.priors.walk import Schedule, Step
from pliant.transforms.multiscale import CHANNELS, FACTORS

STATE = 24


@dataclass(frozen=True, kw_only=True)
class WorthStep(CentredStep):
    """Symbols around means, and what both are worth to the decoder.

    Attributes:
        unit: (B, C, 1, 1) what a symbol was to the encoder, in the unit of the latent.
        worth: (B, C, 1, 1) what it is to the decoder.
    """

    unit: Tensor
    worth: Tensor

    def reconstruct(self, symbols: Tensor) -> Tensor:
        """See `Step`: in the unit of the latent."""
        centre, _ = self.centred()
        return (symbols - centre) * self.worth + centre * self.unit


@dataclass(frozen=True)
class Told:
    """What a slice tells the next one, on that one's grid, as activations.

    Attributes:
        inputs: (B, ., h, w) its values and its state.
        magnitudes: (B, ., h, w) of its values.
    """

    inputs: Tensor
    magnitudes: Tensor


class SliceNet(nn.Module):
    """The networks of one slice, on a grid of half its resolution.

    Args:
        channels: of the slice.
        before: planes in which it sees the coarser one; 0 for the first one.
        width: of the networks.
        last: whether no slice follows.
    """

    def __init__(self, channels: int, before: int, width: int, last: bool) -> None:
        super().__init__()
        planes = len(A) * channels
        own = [(width, 1), (2 * planes, 3)] if before else [(2 * planes, 3)]
        if before:
            self.anchors = SpreadHead(width, before, planes)
            self.first = ExactLayer([(2 * before + STATE, 3)], width)
            self.second = ExactLayer([(width, 3)], width)
        self.context = ExactLayer(own, width)
        self.others = SpreadHead(width, before + planes, planes)
        self.state = None if last else ExactLayer([(width, 1), (4 * planes, 3)], STATE)

    def schedule(
        self,
        told: Told | None,
        start: Step | None,
        offer: Callable[[Step], Step],
        rate: RateVector,
        dtype: torch.dtype,
    ) -> Generator[Step, Tensor, tuple[list[Tensor], Tensor | None]]:
        """Its two steps as `offer` makes them, of which it receives values; then these and a state.

        Args:
            start: the first step of the first slice, which nothing tells about.
        """
        trunk: list[Tensor] = []
        known: list[Tensor] = []
        if told is not None:
            trunk, known = [self.second([self.first([told.inputs], rate)], rate)], [told.magnitudes]
            start = self.anchors(trunk[0], told.magnitudes, rate)
        assert start is not None
        values = [(yield offer(start))]
        signed, plain = seen(values[0], dtype)
        hidden = self.context([*trunk, signed], rate)
        values.append((yield offer(self.others(hidden, torch.cat((*known, plain), 1), rate))))
        if self.state is None:
            return values, None
        both, _ = seen(torch.cat(values, 1), dtype)
        return values, self.state([hidden, both], rate)


class SlicePrior(nn.Module):
    """Prior of five slices; ten steps. See `walk.Prior`.

    Args:
        gains: of the model that owns them.
        widths: of the networks, coarsest slice first.
    """

    def __init__(self, gains: AnchorGains, widths: Sequence[int]) -> None:
        super().__init__()
        self._gains = (gains,)  # the model's: not a module of this one as well
        self.start_step = FactorizedPrior(len(A) * CHANNELS[0], 2 * FACTORS[0])
        nets: list[SliceNet] = []
        for number, (channels, width) in enumerate(zip(CHANNELS, widths, strict=True)):
            before = _planes_before(number) if number else 0
            nets.append(SliceNet(channels, before, width, number + 1 == len(CHANNELS)))
        self.nets = nn.ModuleList(nets)
        # of activations: training may use bfloat16, coding uint8 where int8 kernels are exact
        self.dtype = torch.float32

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`; `size` in multiples of 32; receives values."""
        (gains,) = self._gains
        factors = gains.steps(rate), gains.inverse_gains(rate)
        told: Told | None = None
        start: Step | None = self.start_step.step(size, rate)
        for number, (unit, worth) in enumerate(zip(*factors, strict=True)):
            net, offer = self.nets[number], functools.partial(_offered, unit, worth)
            assert isinstance(net, SliceNet)
            values, state = yield from net.schedule(told, start, offer, rate, self.dtype)
            if state is not None:
                told = self._told(number, values, state)

    @torch.no_grad()
    def start(self, scales: Sequence[Tensor]) -> None:
        """Expects symbols of these mean magnitudes (ANCHORS, C), per slice."""
        self.start_step.expect(scales[0].repeat(1, len(A)))
        for number, scale in enumerate(scales):
            net, expected = self.nets[number], scale.repeat(1, len(A))
            assert isinstance(net, SliceNet)
            if number == 0:
                net.others.start(expected, expected)
                continue
            coarser = scales[number - 1]
            before = coarser.repeat(1, _planes_before(number) // coarser.shape[1])
            net.anchors.start(expected, before)
            net.others.start(expected, torch.cat((before, expected), 1))

    def _told(self, number: int, values: list[Tensor], state: Tensor) -> Told:
        """What a slice tells the next one: its values and its state, on that one's grid."""
        if FACTORS[number + 1] == FACTORS[number]:
            before = torch.cat(values, 1)
        else:
            before = whole(number, values)
            state = F.interpolate(state, scale_factor=2, mode="nearest")
        signed, plain = seen(before, self.dtype)
        inputs = torch.cat((signed, state), 1).contiguous(memory_format=torch.channels_last)
        return Told(inputs, plain)

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """See `walk.Prior`."""
        return split(latents)

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """See `walk.Prior`."""
        return merge(parts)


def _planes_before(number: int) -> int:
    """Planes in which a slice sees the one before, which may have half its size."""
    same = FACTORS[number] == FACTORS[number - 1]
    return CHANNELS[number - 1] * (2 * len(A) if same else 1)


def _offered(unit: Tensor, worth: Tensor, step: Step) -> Step:
    """A step of plain symbols, counted from its means; factors of channels repeat for each cell."""
    unit, worth = (x.repeat(1, len(A), 1, 1) for x in (unit, worth))
    return WorthStep(step.index, step.mean, wide=True, unit=unit, worth=worth)
