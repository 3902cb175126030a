"""Restoration: a small network after the synthesis that gives back what coarse quantisation took.

It works on blocks of 2x2 pixels, with its widest layers on blocks of 4x4, and adds a correction to
the picture. Its layers are exact ones, only because those run on int8 kernels; nothing is decoded
from its output.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers import loops
from pliant.layers.exact import ONE, ExactHead, ExactLayer, RateVector
from pliant.layers.integers import requantise, signed_planes
from pliant.layers.quantize import step_size
from pliant.units import ANCHORS, FINEST_RESTORED, RATE_UNIT

PLANES = 12  # three colours x 2x2 pixels
REACH = 2  # of the local mean that is taken off, in blocks
AREA = (2 * REACH + 1) ** 2
WHOLE = 8.0  # brightness is taken in eighths of a level, so that sums are exact
CONTRAST_UNIT = 8.0  # differences are taken in eighths of a step; in whole ones it learned slowly
FULL_CORRECTION = 0.3  # steps for an output of 1.0, where the gain is one


class Restoration(nn.Module):
    """Adds a correction to a decoded picture, for rate parameters from `FINEST_RESTORED` on.

    Finer quantisation noise is as good as white: nothing can be restored, and time is saved.

    Args:
        width: channels at a quarter of the resolution.
    """

    reach = 64  # pixels around a block that its samples depend on, rounded up

    def __init__(self, width: int) -> None:
        super().__init__()
        fine = 2 * PLANES
        self.first = ExactLayer([(fine, 3)], fine)
        self.down = ExactLayer([(fine, 2)], width)
        self.middle = nn.ModuleList(ExactLayer([(width, 3)], width) for _ in range(2))
        self.up = ExactHead(width, 4 * fine)
        self.last = ExactHead(fine, PLANES, kernel=3)
        self.gain = nn.Parameter(torch.zeros(ANCHORS))  # of the correction, log2
        self.dtype = torch.float32  # of activations, as a prior's

    def forward(self, picture: Tensor, rate: RateVector) -> Tensor:
        """(B, 3, H, W) in 0..255 to the same, H and W multiples of 4."""
        active = rate.rate >= FINEST_RESTORED
        if not bool(active.any()):
            return picture
        step = step_size(rate.rate)
        fine = self.first([contrast(picture, step, self.dtype)], rate)
        coarse = self.down([fine], rate)
        for layer in self.middle:
            coarse = layer([coarse], rate)
        fine = join(self.up(coarse, rate), fine)
        size = step * self._gains(rate) * active * (FULL_CORRECTION / ONE)
        return correct(picture, self.last(fine, rate), size)

    def _gains(self, rate: RateVector) -> Tensor:
        f = rate.position.to(self.gain.dtype) / RATE_UNIT
        return torch.exp2(self.gain[rate.anchor] * (1 - f) + self.gain[rate.anchor + 1] * f)


def contrast(picture: Tensor, step: Tensor, dtype: torch.dtype) -> Tensor:
    """Differences of pixels from the local mean, as blocks, in two planes of activations each.

    Args:
        picture: (B, 3, H, W) in 0..255.
        step: (B,) steps as in `step_size`, the unit of the differences.

    Returns:
        (B, 24, H/2, W/2): companded positive parts, then negative parts.
    """
    unit = CONTRAST_UNIT / (WHOLE * AREA) / step
    if loops.compilable(picture) and dtype == torch.uint8:
        batch, colours, height, width = picture.shape
        planes, memory = loops.empty((batch, 8 * colours, height // 2, width // 2), dtype)
        pixels, rows = picture.contiguous().numpy(), batch * height // 2
        arguments = pixels, unit.numpy(), WHOLE, REACH, memory
        loops.in_slices(_fused().contrast, rows, memory[0, 0].size, *arguments)
        return planes
    blocks = F.pixel_unshuffle((picture * WHOLE).round(), 2)
    around = F.pad(blocks, (REACH,) * 4, mode="replicate")
    total = F.avg_pool2d(around, 2 * REACH + 1, 1, divisor_override=1)
    difference = ((blocks * AREA - total) * unit[:, None, None, None]).round_()
    return signed_planes(difference, dtype).contiguous(memory_format=torch.channels_last)


def join(coarse: Tensor, fine: Tensor) -> Tensor:
    """Activations (B, C, H, W) plus sums (B, 4C, H/2, W/2) of blocks of them, requantised."""
    if loops.compilable(coarse) and fine.dtype == torch.uint8:
        joined, memory = loops.empty(tuple(fine.shape), fine.dtype)
        source, before = loops.channels_last(coarse), loops.channels_last(fine)
        rows = len(source) * source.shape[1]
        loops.in_slices(_fused().join, rows, source[0, 0].size, source, before, memory)
        return joined
    return requantise(F.pixel_shuffle(coarse, 2) + fine, torch.zeros(())).to(fine.dtype)


def correct(picture: Tensor, correction: Tensor, size: Tensor) -> Tensor:
    """The picture (B, 3, H, W) plus blocks (B, 12, H/2, W/2) times the size (B,) of one."""
    if loops.compilable(picture, correction):
        pixels, blocks = picture.contiguous().numpy(), loops.channels_last(correction)
        corrected = torch.empty(picture.shape)
        rows = len(blocks) * blocks.shape[1]
        arguments = pixels, blocks, size.float().numpy(), corrected.numpy()
        loops.in_slices(_fused().correct, rows, blocks[0, 0].size, *arguments)
        return corrected
    return picture + F.pixel_shuffle(correction, 2) * size[:, None, None, None]


def _fused() -> ModuleType:
    """Numba takes a while to import."""
    from pliant.layers import fused_restoration

    return fused_restoration
