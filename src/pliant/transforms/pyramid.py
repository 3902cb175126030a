"""The default transform: learned opponent colours and a five-level lifting pyramid; bijective.

Starts as an orthonormal opponent transform and CDF 9/7, so one quantiser step suits all channels.
The opposite direction shares the parameters. A small restoration network may follow the synthesis.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.exact import RateVector
from pliant.layers.lifting import CDF97, CDF97_SCALE, merge_2d, split_2d
from pliant.transforms.restore import RestorationNet

LEVELS = 5
MULTIPLE = 2 ** (LEVELS + 1)
OPPONENT = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)


class PyramidTransform(nn.Module):
    """Image to latents: low (B, 3, H/32, W/32), level 5 (B, 9, H/32, W/32) ... 1 (B, 9, H/2, W/2).

    Args:
        restoration_width: channels of the restoration network, 0 for none.
    """

    # four lifting steps with one multiplication a sample pair, twice a level, in three colours
    lifting_macs = 3 * 2 * 2 * sum(4.0**-level for level in range(LEVELS)) + 9

    def __init__(self, restoration_width: int = 40) -> None:
        super().__init__()
        self.colour = nn.Parameter(torch.tensor(OPPONENT))
        self.taps = nn.Parameter(torch.tensor(CDF97).repeat(LEVELS, 1))
        self.scale = nn.Parameter(torch.full((LEVELS,), CDF97_SCALE))
        self.restore = RestorationNet(restoration_width)

    def analysis(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in 0..255, H and W multiples of 64, to latents in pixel units."""
        low = F.conv2d(image.float() - 128.0, self.colour[:, :, None, None])
        latents: list[Tensor] = []
        for level in range(LEVELS):
            low, details = split_2d(low, self.taps[level].unbind(), self.scale[level])
            latents.insert(0, details)
        return [low, *latents]

    def synthesis(self, latents: Sequence[Tensor], rate: RateVector) -> Tensor:
        """Inverse of `analysis`, then the restoration network: (B, 3, H, W), not yet clamped."""
        image: Tensor = self.restore(self.inverse(latents), rate)
        return image

    def inverse(self, latents: Sequence[Tensor]) -> Tensor:
        """Exact inverse of `analysis` (up to float rounding)."""
        low = latents[0]
        for level, details in zip(range(LEVELS - 1, -1, -1), latents[1:], strict=True):
            low = merge_2d(low, details, self.taps[level].unbind(), self.scale[level])
        return F.conv2d(low, torch.linalg.inv(self.colour)[:, :, None, None]) + 128.0
