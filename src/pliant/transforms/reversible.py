"""A lifting pyramid that loses nothing: integers to integers, equal on every machine.

Colours by YCoCg-R (Malvar and Sullivan, "YCoCg-R: A Color Space with RGB Reversibility and Low
Dynamic Range", JVT-I014, 2003), levels by the 5/3 wavelet; latents as those of `pyramid.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pliant.layers.lifting import EXACT53, merge_2d_exact, split_2d_exact
from pliant.transforms.pyramid import LEVELS, PyramidTransform

_MIDDLE = 128.0  # of luma


class ReversiblePyramid(nn.Module):
    """Pixels to integers and back.

    Latents: low (B, 3, H/32, W/32), level 5 (B, 9, H/32, W/32) ... level 1 (B, 9, H/2, W/2).
    """

    reach = PyramidTransform.reach  # its filters are longer
    lifting_macs = PyramidTransform.lifting_macs

    def analysis(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) integers in 0..255, H and W multiples of 32, to latents of integers."""
        red, green, blue = image.float().split(1, 1)
        orange = red - blue
        middle = blue + torch.floor(orange / 2)
        chroma = green - middle
        luma = middle + torch.floor(chroma / 2)
        low = torch.cat((luma - _MIDDLE, orange, chroma), 1)
        latents: list[Tensor] = []
        for _ in range(LEVELS):
            low, details = split_2d_exact(low, EXACT53)
            latents.insert(0, details)
        return [low, *latents]

    def synthesis(self, latents: Sequence[Tensor]) -> Tensor:
        """Inverse of `analysis`: (B, 3, H, W)."""
        low = latents[0]
        for details in latents[1:]:
            low = merge_2d_exact(low, details, EXACT53)
        luma, orange, chroma = low.split(1, 1)
        middle = luma + _MIDDLE - torch.floor(chroma / 2)
        blue = middle - torch.floor(orange / 2)
        return torch.cat((blue + orange, chroma + middle, blue), 1)
