"""The convolutions of the classic autoencoders, by what they do to the size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def down(inputs: int, outputs: int) -> nn.Conv2d:
    """5x5 with stride 2: half the size."""
    return nn.Conv2d(inputs, outputs, 5, 2, 2)


def up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """5x5 with stride 2, transposed: twice the size."""
    return nn.ConvTranspose2d(inputs, outputs, 5, 2, 2, output_padding=1)


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
