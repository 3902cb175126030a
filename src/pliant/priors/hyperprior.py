"""The hyperprior: a small side latent is coded first and tells mean and scale of the main latent.

Balle et al., "Variational Image Compression with a Scale Hyperprior" (ICLR 2018, section 3: scales
only) and Minnen et al., "Joint Autoregressive and Hierarchical Priors for Learned Image
Compression" (NeurIPS 2018, section 2: means and scales). The network is exact, as in Balle et al.,
"Integer Networks for Data Compression with Latent-Variable Models" (ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.exact import ExactHead, ExactLayer, RateVector
from pliant.layers.integers import signed_planes
from pliant.priors.factorized import FactorizedPrior, laplace_step, sums_for
from pliant.priors.walk import Schedule, Step


class HyperSynthesis(nn.Module):
    """Side symbols (B, side, h, w) to activations (B, width, h * 2**doublings, w * 2**doublings).

    Every doubling repeats samples; a 3x3 exact layer follows it and one comes first.
    """

    def __init__(self, side: int, width: int, doublings: int) -> None:
        super().__init__()
        widths = [2 * side, *[width] * doublings]
        self.layers = nn.ModuleList(ExactLayer([(w, 3)], width) for w in widths)

    def forward(self, symbols: Tensor, rate: RateVector, dtype: torch.dtype) -> Tensor:
        planes = signed_planes(symbols, dtype)
        x: Tensor = planes.contiguous(memory_format=torch.channels_last)
        for number, layer in enumerate(self.layers):
            if number:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = layer([x], rate)
        return x


class LaplaceHead(nn.Module):
    """Activations (B, width, h, w) to the step of `planes` planes.

    Args:
        means: False leaves all means at zero (the scale hyperprior of 2018).
    """

    def __init__(self, width: int, planes: int, means: bool = True) -> None:
        super().__init__()
        self.means = means
        self.head = ExactHead(width, 2 * planes if means else planes)

    @torch.no_grad()
    def expect(self, scales: Tensor) -> None:
        """Lets biases alone expect values of these mean magnitudes (planes,), in steps."""
        anchors = self.head.bias.anchors
        anchors[0, :, anchors.shape[2] - scales.shape[-1] :] = sums_for(scales)

    def forward(self, x: Tensor, rate: RateVector) -> Step:
        out = self.head(x, rate)
        if not self.means:
            return laplace_step(torch.zeros_like(out), out)
        mean, scale = out.chunk(2, 1)
        return laplace_step(mean, scale)


class HyperPrior(nn.Module):
    """Prior of [z (B, side, H/4f, W/4f), y (B, channels, H/f, W/f)], f = `factor`; two steps.

    Args:
        channels: of y.
        side: channels of z.
        width: of the hyper synthesis.
        factor: pixels of the picture per sample of y, in each direction.
        means: False for scales only.
    """

    def __init__(
        self, channels: int, side: int, width: int = 64, factor: int = 16, means: bool = True
    ) -> None:
        super().__init__()
        self.side = FactorizedPrior(side, 4 * factor)
        self.synthesis = HyperSynthesis(side, width, 2)
        self.head = LaplaceHead(width, channels, means)
        # of activations: training may use bfloat16, coding uint8 where int8 kernels are exact
        self.dtype = torch.float32

    def expect(self, side: Tensor, main: Tensor) -> None:
        """Lets it expect values of these mean magnitudes, (channels,) of z and of y, in steps."""
        self.side.expect(side)
        self.head.expect(main)

    def schedule(self, size: tuple[int, int], rate: RateVector) -> Schedule:
        """See `walk.Prior`; `size` in multiples of 4 * factor."""
        side = yield self.side.step(size, rate)
        yield self.head(self.synthesis(side, rate, self.dtype), rate)

    def split(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """One tensor per step: z, y."""
        return list(latents)

    def merge(self, parts: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Inverse of `split`."""
        return list(parts)
