"""The transform of MSINN: a flow of four levels, each of which hands half of its channels on.

Tu et al., "Multi-Scale Invertible Neural Network for Wide-Range Variable-Rate Learned Image
Compression" (IEEE Transactions on Multimedia 2025). Latents are *slices*: 48 channels at 1/16 of
the size, 48 at 1/16, 24 at 1/8, 12 at 1/4 and 6 at 1/2; as many values as the picture has.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pliant.layers.convolutions import point, same
from pliant.layers.invertible import ActNorm, Chain, Coupling, InvertibleConv, SpaceToDepth
from pliant.layers.residual import Residual
from pliant.transforms.autoencoder import PEAK
from pliant.transforms.post_net import PostNet

LEVELS = 4
CHANNELS = (48, 48, 24, 12, 6)  # of the slices, coarse first
FACTORS = (16, 16, 8, 4, 2)  # pixels per sample
_REFINEMENT = 0.5  # largest correction of a value, in steps
_BLOCK = SpaceToDepth(samples_first=True)


class Unit(Chain):
    """ActNorm, invertible 1x1 convolution, affine coupling.

    Args:
        width: channels within the coupling's network.
    """

    def __init__(self, channels: int, width: int) -> None:
        half, last = channels // 2, point(width, channels)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        path = [same(half, width), nn.LeakyReLU(), same(width, width), nn.LeakyReLU()]
        net = nn.Sequential(Residual(path, point(half, width)), last)
        super().__init__([ActNorm(channels), InvertibleConv(channels), Coupling(net)])

    @property
    def linear(self) -> tuple[ActNorm, InvertibleConv]:
        """What comes before the coupling."""
        norm, mix, _ = self.layers
        assert isinstance(norm, ActNorm)
        assert isinstance(mix, InvertibleConv)
        return norm, mix


class MultiscaleTransform(nn.Module):
    """Pixels to five slices, coarse first, and back.

    Args:
        widths: of the couplings' networks, finest level first.
        units: per level.
        refinement: channels of the networks that refine decoded values, and how many of their
            layers lie between the first and the last; (0, 0) for none.
        post: channels of the post-net at full size; 0 for none.
    """

    def __init__(
        self, widths: Sequence[int], units: int, refinement: tuple[int, int], post: int
    ) -> None:
        super().__init__()
        self.units = units
        self.levels = nn.ModuleList(
            Chain([Unit(12 << number, width) for _ in range(units)])
            for number, width in enumerate(widths)
        )
        width, self.inner = refinement
        sizes = [(c if not s else 2 * c, c) for s, c in enumerate(CHANNELS)] if width else []
        self.refinement = nn.ModuleList(
            convolutions([a, *[width] * (self.inner + 1), b]) for a, b in sizes
        )
        self.post = PostNet(post) if post else None

    @property
    def reach(self) -> int | None:
        """See `models.base.Transform`; a post-net sees the whole picture."""
        if self.post is not None:
            return None
        # two 3x3 convolutions in each unit; each slice's refinement, before its level
        pixels = sum(2 * self.units << level for level in range(1, LEVELS + 1))
        if len(self.refinement):
            pixels += sum((self.inner + 2) * factor for factor in FACTORS)
        return -(-pixels // 32) * 32

    def analysis(self, image: Tensor) -> list[Tensor]:
        """See `models.base.Transform`; sizes in multiples of 16."""
        return self._split(image / PEAK, lambda level, x: level(x))

    def synthesis(self, latents: Sequence[Tensor]) -> Tensor:
        """The inverse of `analysis`, without refinement and post-net."""
        support: Tensor | None = None
        for number, latent in enumerate(latents):
            support = self.merge(number, latent, support)
        assert support is not None
        return support * PEAK

    def synthesis_at(self, latents: Sequence[Tensor], steps: Sequence[Tensor]) -> Tensor:
        """Decoded values to the picture, with refinement and post-net.

        Args:
            steps: (B, C, 1, 1) per slice: what a symbol is worth, and its refinement with it.
        """
        support: Tensor | None = None
        for number, (latent, step) in enumerate(zip(latents, steps, strict=True)):
            support = self.merge(number, self.refined(number, latent, support, step), support)
        assert support is not None
        return (support if self.post is None else self.post(support)) * PEAK

    def refined(self, number: int, latent: Tensor, support: Tensor | None, step: Tensor) -> Tensor:
        """A slice plus what its coarser ones and itself tell about the error of quantisation.

        Minnen and Singh, "Channel-wise Autoregressive Entropy Models for Learned Image Compression"
        (ICIP 2020, section 3.2: latent residual prediction).
        """
        if not len(self.refinement):
            return latent
        known = latent if support is None else torch.cat((latent, support), 1)
        return latent + _REFINEMENT * torch.tanh(self.refinement[number](known)) * step

    def merge(self, number: int, latent: Tensor, support: Tensor | None) -> Tensor:
        """A slice and what all coarser ones gave (None before) to what the next one is merged with.

        After the finest slice that is the picture, in 0..1.
        """
        if support is None:
            return latent
        level = self.levels[len(CHANNELS) - 1 - number]
        assert isinstance(level, Chain)
        return _BLOCK.inverse(level.inverse(torch.cat((latent, support), 1)))

    @torch.no_grad()
    def adapt(self, image: Tensor) -> None:
        """The published start: ActNorm from photos (B, 3, H, W) in 0..255, random rotations."""
        for module in self.modules():
            if isinstance(module, InvertibleConv):
                module.rotate()
        self._split(image / PEAK, lambda level, x: level.adapt(x))

    @torch.no_grad()
    def linear_start(self, image: Tensor) -> None:
        """Starts as an orthonormal transform of photos: principal components of every level.

        Those of least energy are coded, the others go on. Everything else is the identity.
        """
        self._split(image / PEAK, _components)

    def _split(self, x: Tensor, through: Callable[[Chain, Tensor], Tensor]) -> list[Tensor]:
        slices: list[Tensor] = []
        for level in self.levels:
            assert isinstance(level, Chain)
            latent, x = through(level, _BLOCK(x)).chunk(2, 1)
            slices.insert(0, latent)
        return [x, *slices]


def convolutions(channels: Sequence[int]) -> nn.Sequential:
    """3x3 convolutions through these numbers of channels, with GELU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(channels):
        layers += [same(inputs, outputs), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def _components(level: Chain, x: Tensor) -> Tensor:
    """Makes the level's first unit the principal components of x, least energy first."""
    first = level.layers[0]
    assert isinstance(first, Unit)
    samples = x.movedim(1, 0).flatten(1).double()
    mean = samples.mean(1, keepdim=True)
    _, directions = torch.linalg.eigh((samples - mean) @ (samples - mean).T)
    norm, mix = first.linear
    norm.bias.copy_(-mean[:, :, None])
    mix.weight.copy_(directions.T[:, :, None, None])
    out: Tensor = level(x)
    return out
