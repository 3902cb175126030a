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
from pliant.layers.integers import round_clamp, signed_planes
from pliant.priors.centred import CentredStep
from pliant.priors.factorized import FactorizedPrior
from pliant.priors.halves import merge, split, whole
from pliant.priors.hyperprior import LaplaceHead
from pliant.priors.walk import Schedule, Step
from pliant.transforms.multiscale import CHANNELS, FACTORS

STATE = 24
_QUARTERS = 4.0  # in which networks see values: means have sixteenths
_LARGEST_SEEN = 2.0**20


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


class SliceNet(nn.Module):
    """The networks of one slice, on a grid of half its resolution.

    Args:
        channels: of the slice.
        inputs: activations that tell of the coarser slices; 0 for the first one.
        width: of the networks.
        last: whether no slice follows.
    """

    def __init__(self, channels: int, inputs: int, width: int, last: bool) -> None:
        super().__init__()
        planes = len(A) * channels
        own = [(width, 1), (2 * planes, 3)] if inputs else [(2 * planes, 3)]
        if inputs:
            self.anchors = LaplaceHead(width, planes)
            self.first = ExactLayer([(inputs, 3)], width)
            self.second = ExactLayer([(width, 3)], width)
        self.context = ExactLayer(own, width)
        self.others = LaplaceHead(width, planes)
        self.state = None if last else ExactLayer([(width, 1), (4 * planes, 3)], STATE)

    def schedule(
        self,
        inputs: Tensor | None,
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
        if inputs is not None:
            trunk = [self.second([self.first([inputs], rate)], rate)]
            start = self.anchors(trunk[0], rate)
        assert start is not None
        values = [(yield offer(start))]
        hidden = self.context([*trunk, seen(values[0], dtype)], rate)
        values.append((yield offer(self.others(hidden, rate))))
        if self.state is None:
            return values, None
        return values, self.state([hidden, seen(torch.cat(values, 1), dtype)], rate)


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
            inputs = 2 * _planes_before(number) + STATE if number else 0
            nets.append(SliceNet(channels, inputs, width, number + 1 == len(CHANNELS)))
        self.nets = nn.ModuleList(nets)
        # of activations: training may use bfloat16, coding uint8 where int8 kernels are exact
        self.dtype = torch.float32

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`; `size` in multiples of 32; receives values."""
        (gains,) = self._gains
        factors = gains.steps(rate), gains.inverse_gains(rate)
        inputs: Tensor | None = None
        start: Step | None = self.start_step.step(size, rate)
        for number, (unit, worth) in enumerate(zip(*factors, strict=True)):
            net, offer = self.nets[number], functools.partial(_offered, unit, worth)
            assert isinstance(net, SliceNet)
            values, state = yield from net.schedule(inputs, start, offer, rate, self.dtype)
            if state is not None:
                inputs = self._inputs(number, values, state)

    @torch.no_grad()
    def start(self, scales: Sequence[Tensor]) -> None:
        """Expects symbols of these scales (ANCHORS, C), per slice, whatever is known of others."""
        for number, scale in enumerate(scales):
            expected = scale.repeat(1, len(A))
            net = self.nets[number]
            assert isinstance(net, SliceNet)
            net.others.expect(expected)
            if number:
                net.anchors.expect(expected)
            else:
                self.start_step.expect(expected)

    def _inputs(self, number: int, values: list[Tensor], state: Tensor) -> Tensor:
        """What a slice tells the next one: its values and its state, on that one's grid."""
        if FACTORS[number + 1] == FACTORS[number]:
            before = torch.cat(values, 1)
        else:
            before = whole(number, values)
            state = F.interpolate(state, scale_factor=2, mode="nearest")
        told = torch.cat((seen(before, self.dtype), state), 1)
        return told.contiguous(memory_format=torch.channels_last)

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


def seen(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values, in 1/16 of a symbol, as activations (B, 2C, H, W)."""
    quarters = round_clamp(values * _QUARTERS, -_LARGEST_SEEN, _LARGEST_SEEN)
    return signed_planes(quarters, dtype).contiguous(memory_format=torch.channels_last)
