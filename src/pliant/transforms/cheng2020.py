"""The autoencoder of Cheng et al.: residual blocks, sub-pixel upsampling, attention if wanted.

Cheng, Sun, Takeuchi and Katto, "Learned Image Compression with Discretized Gaussian Mixture
Likelihoods and Attention Modules" (CVPR 2020, figure 4).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pliant.layers.convolutions import activated, same
from pliant.layers.residual import Attention, block, growing, shrinking
from pliant.transforms.autoencoder import MID_GREY, PEAK


class ChengAutoencoder(nn.Module):
    """Pixels to [z, y], all of `width` channels, and y back.

    Args:
        attention: two attention blocks on each side.
    """

    reach = 256

    def __init__(self, width: int, attention: bool) -> None:
        super().__init__()
        n = width

        def attended() -> list[nn.Module]:
            return [Attention(n)] if attention else []

        fine = shrinking(3, n), block(n), shrinking(n, n), *attended()
        coarse = block(n), shrinking(n, n), block(n), same(n, n, 2), *attended()
        self.encoder = nn.Sequential(*fine, *coarse)
        decoder = [*attended(), block(n), growing(n), block(n), growing(n)]
        decoder += [*attended(), block(n), growing(n)]
        last = same(n, 3 * 4)
        assert last.bias is not None
        nn.init.constant_(last.bias, MID_GREY)
        self.decoder = nn.Sequential(*decoder, block(n), last, nn.PixelShuffle(2))
        sizes = (1, 1, 2, 1, 2)
        self.hyper = activated([same(n, n, stride) for stride in sizes])

    def analysis(self, image: Tensor) -> list[Tensor]:
        """See `models.base.Transform`."""
        main = self.encoder(image / PEAK)
        return [self.hyper(main), main]

    def synthesis(self, latents: Sequence[Tensor]) -> Tensor:
        """See `models.base.Transform`; z tells only the prior something."""
        image: Tensor = self.decoder(latents[-1]) * PEAK
        return image
