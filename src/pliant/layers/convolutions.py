"""The convolutions of the classic autoencoders, by what they do to the size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class _Magnifying(nn.Conv2d):
    scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


class _Reducing(nn.ConvTranspose2d):
    scale = 1.0

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x / self.scale, output_size)


def down(inputs: int, outputs: int, scale: float = 1.0) -> nn.Conv2d:
    """5x5 with stride 2: half the size, and `scale` times what its weights say.

    An optimiser moves every weight by about as much, so weights of usual size learn best.
    """
    if scale == 1:
        return nn.Conv2d(inputs, outputs, 5, 2, 2)
    layer = _Magnifying(inputs, outputs, 5, 2, 2)
    layer.scale = scale
    return layer


def up(inputs: int, outputs: int, scale: float = 1.0) -> nn.ConvTranspose2d:
    """5x5 with stride 2, transposed: twice the size, of inputs that are `scale` times too large."""
    if scale == 1:
        return nn.ConvTranspose2d(inputs, outputs, 5, 2, 2, output_padding=1)
    layer = _Reducing(inputs, outputs, 5, 2, 2, output_padding=1)
    layer.scale = scale
    return layer


def same(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3x3; stride 2 halves the size."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


def point(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """1x1."""
    return nn.Conv2d(inputs, outputs, 1, stride)


def subpixel(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 to four times the channels, which become the four samples of a 2x2 block."""
    return nn.Sequential(same(inputs, 4 * outputs), nn.PixelShuffle(2))


def activated(layers: Sequence[nn.Module]) -> nn.Sequential:
    """The layers with leaky rectifiers between them."""
    chain: list[nn.Module] = []
    for layer in layers:
        chain += [layer, nn.LeakyReLU()]
    return nn.Sequential(*chain[:-1])
