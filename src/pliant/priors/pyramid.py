"""The default prior: coarse to fine over a wavelet pyramid, with exact integer networks.

Each level codes its nine planes (three colours x HL, LH, HH) on a grid of half their resolution, in
passes of a cell or a diagonal of cells. A level's trunk sees the parent level's symbols, the
picture so far (an exact integer inverse transform of all coarser symbols, less its local mean), and
a state from the coarser level. A pass adds the symbols that the level has already decoded. The
scale starts from an explicit magnitude term: log(sum w |neighbour| + c).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pliant.layers.cells import A, B, Cells, put, take
from pliant.layers.exact import Begun, ExactHead, ExactLayer, RateVector, SpreadConv2d
from pliant.layers.lifting import EXACT53, EXACT97, EXACT_LIMIT, ExactWavelet, merge_2d_exact
from pliant.priors import lowband
from pliant.priors.surroundings import CONTRAST, PARENT, Context, Surroundings, surroundings
from pliant.priors.walk import Schedule, Step

LEVELS = 5
MULTIPLE = 2 ** (LEVELS + 1)  # pictures are padded to it
STATE = 32


@dataclass(frozen=True)
class Lattice:
    """What symbols stand for.

    Attributes:
        unit: of the details' symbols, in those of the picture so far.
        low_unit: of the coarsest band's.
        on_trellis: whether the details' symbols are on the trellis of `entropy/trellis.py`.
        wavelet: that makes the picture so far from them.
    """

    unit: float
    low_unit: float
    on_trellis: bool
    wavelet: ExactWavelet


# The picture so far is held in quarter steps. The details' symbols are half-steps on the trellis,
# the coarsest band's three quarters of a step, which is about a step of plain quantisation.
TRELLIS = Lattice(2.0, 3.0, True, EXACT97)
# Nothing is quantised.
INTEGERS = Lattice(1.0, 1.0, False, EXACT53)
LUMA, CHROMA = slice(0, 3), slice(3, 9)


class Pass(NamedTuple):
    """What is coded at once.

    Attributes:
        channels: of the level's nine, colours x bands.
        cells: of the 2x2 grid.
        width: of the hidden layer, in that of the trunk.
    """

    channels: slice
    cells: Cells
    width: float = 1.0

    @property
    def planes(self) -> int:
        """How many planes of the level's grid it codes."""
        return len(range(9)[self.channels]) * len(self.cells)


# One cell of the 2x2 grid at a time, luma first. On the fine levels, where most of the arithmetic
# is, chroma must do with a diagonal at a time and a narrower layer: between 0.2 and 1 bpp it has at
# most 3 % of a file's bits there, luma 60 to 70 %.
_LUMA_PASSES = tuple(Pass(LUMA, (cell,)) for cell in (*A, *B))
FINE_PASSES: tuple[Pass, ...] = (*_LUMA_PASSES, *(Pass(CHROMA, c, 2 / 3) for c in (A, B)))
COARSE_PASSES: tuple[Pass, ...] = (*_LUMA_PASSES, *(Pass(CHROMA, (c,)) for c in (*A, *B)))


class PassNet(nn.Module):
    """Mean and scale of one pass.

    Args:
        trunk: channels of the level's trunk.
        known: planes of the level that are decoded before.
        variants: levels that share it.
    """

    def __init__(self, trunk: int, known: int, p: Pass, variants: int) -> None:
        super().__init__()
        planes, width = p.planes, round(trunk * p.width)
        self.spread = SpreadConv2d(PARENT + CONTRAST + known, planes, variants)
        self.hidden = ExactLayer([(trunk, 1), (2 * known + planes, 3)], width, variants)
        self.head = ExactHead(width, 2 * planes, variants)
        # half of the spread from the level itself, the rest from parent and picture
        with torch.no_grad():
            self.spread.weight.fill_(-4.5)
            self.spread.weight[:, :9] = -6.0
            self.spread.weight[:, 9:21] = -6.5
            if known:
                self.spread.weight[:, 21:] = -4.0 - 0.5 * (known > 6)

    def forward(
        self, trunk: Tensor, begun: Begun, known: Surroundings, rate: RateVector, variant: int
    ) -> Step:
        """`begun`: what `hidden` makes of the trunk."""
        scale, near = known.expect(self.spread.spread(known.around(), rate, variant))
        hidden = self.hidden([trunk, near], rate, variant, begun)
        return known.step(self.head(hidden, rate, variant), scale)


class LevelNet(nn.Module):
    """The networks of one level, or of `variants` levels that share all but their biases."""

    def __init__(self, width: int, passes: tuple[Pass, ...], variants: int, last: bool) -> None:
        super().__init__()
        self.passes = passes
        self.first = ExactLayer([(2 * (PARENT + CONTRAST) + STATE, 3)], width, variants)
        self.second = ExactLayer([(width, 3)], width, variants)
        known = 0
        nets = []
        for p in passes:
            nets.append(PassNet(width, known, p, variants))
            known += p.planes
        self.nets = nn.ModuleList(nets)
        self.state = None if last else ExactLayer([(width, 3), (2 * known, 3)], STATE, variants)

    def schedule(
        self, context: Context, details: Tensor, rate: RateVector, variant: int, dtype: torch.dtype
    ) -> Schedule:
        """Unless there is no finer level, fills `details` (B, 9, 2h, 2w) and `context.state`."""
        planes = sum(p.planes for p in self.passes)
        known = surroundings(context, planes, dtype)
        trunk = self.second([self.first([known.inputs], rate, variant)], rate, variant)
        nets = [net for net in self.nets if isinstance(net, PassNet)]
        begun: Begun | None = nets[0].hidden.begin(trunk)
        for p, net, following in zip(self.passes, nets, [*nets[1:], None], strict=True):
            assert begun is not None
            step = net(trunk, begun, known, rate, variant)
            begun = following.hidden.begin(trunk) if following else None
            symbols = yield dataclasses.replace(step, meanwhile=begun)
            if self.state is not None or following is not None:
                known.tell(symbols)
            if self.state is not None:
                put(details, p.cells, symbols, p.channels)
        if self.state is not None:
            context.state = self.state([trunk, known.own()], rate, variant)


class PyramidPrior(nn.Module):
    """Prior of the lifting pyramid's latents: [low (B, 3, ...), level 5 (B, 9, ...), ..., level 1].

    Args:
        widths: channels of level 1, of level 2, and of the levels above, which share one network.
        lattice: what symbols stand for.
    """

    def __init__(self, widths: tuple[int, int, int], lattice: Lattice) -> None:
        super().__init__()
        self.lattice = lattice
        self.low = lowband.LowBandPrior()
        self.coarse = LevelNet(widths[2], COARSE_PASSES, LEVELS - 2, last=False)
        self.middle = LevelNet(widths[1], FINE_PASSES, 1, last=False)
        self.fine = LevelNet(widths[0], FINE_PASSES, 1, last=True)
        # of activations: training may use bfloat16, coding uint8 where int8 kernels are exact
        self.dtype = torch.float32

    def _net(self, level: int) -> tuple[LevelNet, int]:
        if level >= 3:
            return self.coarse, level - 3
        return (self.middle if level == 2 else self.fine), 0

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """Steps of a picture of padded `size` (multiples of 64)."""
        (height, width), lattice = size, self.lattice
        new = torch.zeros
        batch, device = len(rate.rate), rate.rate.device
        low = new(batch, 3, height >> LEVELS, width >> LEVELS, device=device)
        yield from self.low.schedule(low, rate)
        picture = (low * lattice.low_unit).clamp_(-EXACT_LIMIT, EXACT_LIMIT)
        grid = (height >> (LEVELS + 1), width >> (LEVELS + 1))
        parent = new(batch, 9, *grid, device=device)
        state = new(batch, STATE, *grid, device=device)
        for level in range(LEVELS, 0, -1):
            details = torch.empty(batch, 9, height >> level, width >> level, device=device)
            context = Context(parent, picture, state, lattice.on_trellis)
            net, variant = self._net(level)
            yield from net.schedule(context, details, rate, variant, self.dtype)
            if level > 1:
                parent, state = details, context.state
                scaled = (details * lattice.unit).clamp_(-EXACT_LIMIT, EXACT_LIMIT)
                picture = merge_2d_exact(picture, scaled, lattice.wavelet)

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """One tensor per step, in coding order."""
        parts = lowband.split(latents[0])
        for level, details in zip(range(LEVELS, 0, -1), latents[1:], strict=True):
            parts += [take(details, p.cells, p.channels) for p in self._net(level)[0].passes]
        return parts

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Inverse of `split`."""
        batch, device = len(parts[0]), parts[0].device
        low = torch.zeros(batch, 3, size[0] >> LEVELS, size[1] >> LEVELS, device=device)
        latents = [low]
        rest = iter(parts[lowband.merge(parts, low) :])
        for level in range(LEVELS, 0, -1):
            details = torch.empty(batch, 9, size[0] >> level, size[1] >> level, device=device)
            for p in self._net(level)[0].passes:
                put(details, p.cells, next(rest), p.channels)
            latents.append(details)
        return latents
