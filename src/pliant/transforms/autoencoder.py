"""The autoencoder of Balle et al. and Minnen et al.: four 5x5 convolutions of stride 2 each way.

Balle, Laparra and Simoncelli, "End-to-end Optimized Image Compression" (ICLR 2017); with the hyper
analysis of Balle et al., "Variational Image Compression with a Scale Hyperprior" (ICLR 2018, figure
4) or of Minnen et al. (NeurIPS 2018, table 1).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from pliant.layers.convolutions import down, same, up
from pliant.layers.gdn import GDN

PEAK = 255.0  # the networks see pictures in 0..1
MID_GREY = 0.5  # where untrained decoders start
EXACT_SCALE = 16.0
"""Of y in models with exact priors, which are our own: steps of one need large values."""


class Magnitude(nn.Module):
    """|x|."""

    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


def scale_analysis(side: int, channels: int) -> nn.Sequential:
    """y (B, channels, h, w) to z (B, side, h/4, w/4), of 2018: from magnitudes only."""
    return nn.Sequential(Magnitude(), *_analysis(side, channels, nn.ReLU))


def signed_analysis(side: int, channels: int) -> nn.Sequential:
    """y (B, channels, h, w) to z (B, side, h/4, w/4), of Minnen et al."""
    return _analysis(side, channels, nn.LeakyReLU)


def _analysis(side: int, channels: int, activation: type[nn.Module]) -> nn.Sequential:
    first = same(channels, side), activation(), down(side, side), activation()
    return nn.Sequential(*first, down(side, side))


class Autoencoder(nn.Module):
    """Pixels to [y], or to [z, y] with a hyper analysis, and y back.

    Args:
        width: channels of the inner layers.
        channels: of y.
        hyper: y to z.
        rectified: ReLU instead of generalised divisive normalisation.
        scale: of y, over what the layers' weights say.
        stages: how often the size is halved.
    """

    reach = 192

    def __init__(
        self,
        width: int,
        channels: int,
        hyper: nn.Module | None = None,
        rectified: bool = False,
        scale: float = 1.0,
        stages: int = 4,
    ) -> None:
        super().__init__()
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        scales = [1.0] * (stages - 1) + [scale]
        widths = itertools.pairwise([3, *[width] * (stages - 1), channels])
        for number, ((a, b), own) in enumerate(zip(widths, scales, strict=True)):
            if number:
                encoder.append(nn.ReLU() if rectified else GDN(width))
                decoder.insert(0, nn.ReLU() if rectified else GDN(width, inverse=True))
            encoder.append(down(a, b, own))
            decoder.insert(0, up(b, a, own))
        last = decoder[-1].bias
        assert isinstance(last, nn.Parameter)
        nn.init.constant_(last, MID_GREY)
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.hyper = hyper

    def analysis(self, image: Tensor) -> list[Tensor]:
        """See `models.base.Transform`."""
        main = self.encoder(image / PEAK)
        return [main] if self.hyper is None else [self.hyper(main), main]

    def synthesis(self, latents: Sequence[Tensor]) -> Tensor:
        """See `models.base.Transform`; z tells only the prior something."""
        image: Tensor = self.decoder(latents[-1]) * PEAK
        return image
