"""The default transform: learned opponent colours and a five-level lifting pyramid; bijective.

Starts as an orthonormal opponent transform and CDF 9/7, so one quantiser step suits all channels.
The opposite direction shares the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pliant.layers.lifting import CDF97, CDF97_SCALE, merge_2d, split_2d
from pliant.transforms.colour import turned

LEVELS = 5
MULTIPLE = 2 ** (LEVELS + 1)
OPPONENT = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)


class PyramidTransform(nn.Module):
    """Image to latents and back.

    Latents: low (B, 3, H/32, W/32), level 5 (B, 9, H/32, W/32) ... level 1 (B, 9, H/2, W/2).
    """

    reach = 128  # pixels around a block that its samples depend on; measured: 64 leave a difference
    # four lifting steps with one multiplication a sample pair, twice a level, in three colours
    lifting_macs = 3 * 2 * 2 * sum(4.0**-level for level in range(LEVELS)) + 9

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Parameter(torch.tensor(OPPONENT))
        self.taps = nn.Parameter(torch.tensor(CDF97).repeat(LEVELS, 1))
        self.scale = nn.Parameter(torch.full((LEVELS,), CDF97_SCALE))

    def analysis(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in 0..255, H and W multiples of 64, to latents in pixel units."""
        low = turned(image.float() - 128.0, self.colour)
        latents: list[Tensor] = []
        for level in range(LEVELS):
            low, details = split_2d(low, self.taps[level].unbind(), self.scale[level])
            latents.insert(0, details)
        return [low, *latents]

    def synthesis(self, latents: Sequence[Tensor], turn: Tensor | None = None) -> Tensor:
        """Inverse of `analysis`, up to float rounding: (B, 3, H, W), not yet clamped.

        Args:
            turn: (B, 3, 3) rotation of colours that the latents went through; None for none.
        """
        low = latents[0]
        for level, details in zip(range(LEVELS - 1, -1, -1), latents[1:], strict=True):
            low = merge_2d(low, details, self.taps[level].unbind(), self.scale[level])
        colour = self.colour if turn is None else turn @ self.colour
        return turned(low, torch.linalg.inv(colour), 128.0)
