"""Generalised divisive normalisation, the nonlinearity of the classic autoencoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.bound import lower_bound

_PEDESTAL = 2.0**-36  # keeps the gradient of the square root finite at zero
_SMALLEST_BETA = 1e-6


class GDN(nn.Module):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2), or times that root.

    Balle, Laparra and Simoncelli, "Density Modeling of Images using a Generalized Normalization
    Transformation" (ICLR 2016, eq. 2 with the exponents fixed). Parameters are stored as the square
    roots of what they stand for, which keeps that positive.

    Args:
        channels: C; C + C^2 parameters.
        inverse: multiply instead of dividing, as synthesis transforms do.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter((torch.ones(channels) + _PEDESTAL).sqrt())
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + _PEDESTAL).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        beta = _squared(self.beta, _SMALLEST_BETA)
        gamma = _squared(self.gamma, 0.0)
        norm = F.conv2d(x.square(), gamma[:, :, None, None], beta)
        return x * (norm.sqrt() if self.inverse else norm.rsqrt())


def _squared(root: Tensor, least: float) -> Tensor:
    """What a stored root stands for, at least `least`."""
    square: Tensor = lower_bound(root, (least + _PEDESTAL) ** 0.5).square() - _PEDESTAL
    return square
