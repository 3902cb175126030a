"""A lower bound that does not trap what lies below it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pliant.layers.integers import apply


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * ((x >= ctx.bound) | (grad < 0)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound); below the bound, gradients that would raise x still pass."""
    return apply(_LowerBound, x, bound)
