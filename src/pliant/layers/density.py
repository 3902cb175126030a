"""A learnt density for each channel, without a shape given beforehand.

Balle, Minnen, Singh, Hwang and Johnston, "Variational Image Compression with a Scale Hyperprior"
(ICLR 2018, appendix 6.1): the cumulative distribution is a small monotonic network per channel.
"""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.entropy.families import folded
from pliant.entropy.tables import RADIUS_LIMIT, Array
from pliant.layers.bound import lower_bound

LEAST_LIKELIHOOD = 1e-9
_WIDTHS = (1, 3, 3, 3, 3, 1)
_START_SCALE = 10.0  # of the untrained densities, in quantiser steps
_TAIL = math.log(2 / 1e-9 - 1)  # logit of the quantiles' tail mass, 21.4164


class Density(nn.Module):
    """Cumulative distributions of `channels` channels: 58 trained parameters and 3 quantiles each.

    The quantiles (lower, median, upper) follow from the others, see `settle`; symbols count steps
    from the median.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.matrices, self.biases, self.factors = (nn.ParameterList() for _ in range(3))
        scale = _START_SCALE ** (1 / (len(_WIDTHS) - 1))
        for inputs, outputs in itertools.pairwise(_WIDTHS):
            start = math.log(math.expm1(1 / scale / outputs))
            self.matrices.append(torch.full((channels, outputs, inputs), start))
            self.biases.append(torch.rand(channels, outputs, 1) - 0.5)
            if outputs > 1:
                self.factors.append(torch.zeros(channels, outputs, 1))
        start_quantiles = torch.tensor([-_START_SCALE, 0.0, _START_SCALE])
        self.quantiles = nn.Parameter(start_quantiles.repeat(channels, 1, 1))

    def logits(self, x: Tensor) -> Tensor:
        """Logits of the cumulative distributions at x; both (C, 1, N)."""
        for number, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = F.softplus(matrix) @ x + bias
            if number < len(self.factors):
                x = x + torch.tanh(self.factors[number]) * torch.tanh(x)
        return x

    def bits(self, values: Tensor, width: Tensor | None = None) -> Tensor:
        """Ideal cost of the intervals around `values` (B, C, H, W), each.

        Args:
            width: (B, 1, 1, 1) of the intervals; 1 unless given.
        """
        rows = values.transpose(0, 1)
        flat = rows.reshape(self.channels, 1, -1)
        if width is None:
            mass = self.mass(flat)
        else:
            mass = self.mass(flat, width.expand_as(values).transpose(0, 1).reshape(flat.shape))
        cost: Tensor = -lower_bound(mass, LEAST_LIKELIHOOD).log2()
        return cost.view(rows.shape).transpose(0, 1)

    def mass(self, x: Tensor, width: Tensor | float = 1.0) -> Tensor:
        """Probability of the intervals of this width around x (C, 1, N)."""
        low, high = self.logits(x - 0.5 * width), self.logits(x + 0.5 * width)
        # on the side where the tail is small, so that the difference does not cancel
        side = -torch.sign(low + high).detach()
        return (torch.sigmoid(side * high) - torch.sigmoid(side * low)).abs()

    @property
    def medians(self) -> Tensor:
        """(1, C, 1, 1)."""
        return self.quantiles[:, :, 1:2].detach().view(1, -1, 1, 1)

    @torch.no_grad()
    def settle(self) -> None:
        """Sets the quantiles to those of the distributions, by bisection."""
        exact = copy.deepcopy(self).double()
        wanted = torch.tensor([-_TAIL, 0.0, _TAIL]).to(exact.quantiles)
        low, high = (torch.full_like(exact.quantiles, end) for end in (-1e5, 1e5))
        for _ in range(50):
            middle = (low + high) / 2
            below = exact.logits(middle) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        self.quantiles.copy_((low + high) / 2)

    @torch.no_grad()
    def masses(self, step: Tensor | float = 1.0) -> list[Array]:
        """Of each channel's symbols, for `Tables.listed`: made in float64.

        Args:
            step: of the quantiser: one, or (C,) of each channel.
        """
        steps = torch.as_tensor(step, dtype=torch.float64, device="cpu").reshape(-1, 1, 1)
        exact = copy.deepcopy(self).double().cpu()
        low, median, high = exact.quantiles.unbind(2)
        reach = torch.maximum(median - low, high - median) / steps[..., 0]
        radius = int(reach.max().ceil().clamp(1, RADIUS_LIMIT))
        symbols = torch.arange(-radius, radius + 1, dtype=torch.float64)
        mass = exact.mass(median[..., None] + symbols * steps, steps)[:, 0].numpy()
        edges = torch.tensor([-radius - 0.5, radius + 0.5], dtype=torch.float64) * steps
        ends = exact.logits(median[..., None] + edges)[:, 0]
        tails = torch.sigmoid(ends * torch.tensor([1.0, -1.0])).sum(1).numpy()
        return [folded(m, float(t)) for m, t in zip(np.asarray(mass), tails, strict=True)]
