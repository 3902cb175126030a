"""The exact convolutions on int8 kernels (oneDNN, through torch): the same integers, faster.

Activations are uint8 tensors, weights int8. The ranges are small enough (127 * 127 * 2 < 2**15)
that kernels which add pairs of products in 16 bits, as older x86 ones do, cannot saturate; sums
come back as the same exact float32 that the float32 convolution gives. `pliant.models.registry`
uses it only after the stored test walk has agreed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_ONES = [1, 1]


@dataclass(frozen=True)
class PackedWeight:
    """Weights in the kernel's own layout, with the scale of the sums per output channel."""

    weight: Tensor
    scale: Tensor
    zero_point: Tensor
    stride: list[int]
    padding: list[int]


def available() -> bool:
    """Whether this torch and processor have the kernels."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qconv2d_pointwise")


def pack(integers: Tensor, scale: float) -> PackedWeight:
    """Packs integer weights (out, in, k, k) in [-127, 127]; sums will be multiplied by `scale`."""
    out_channels, kernel = integers.shape[0], integers.shape[2]
    scales = torch.full((out_channels,), scale)
    stride, padding = ([n] * 2 for n in geometry(kernel))
    packed = torch.ops.onednn.qconv_prepack(
        integers.to(torch.int8), scales, 1.0, 0, stride, padding, _ONES, 1, None
    )
    zero_point = torch.zeros(out_channels, dtype=torch.int64)
    return PackedWeight(packed, scales, zero_point, stride, padding)


def geometry(kernel: int) -> tuple[int, int]:
    """(stride, padding): odd kernels keep the size, even ones step by their own width."""
    return (1, kernel // 2) if kernel % 2 else (kernel, 0)


def convolve(x: Tensor, packed: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """uint8 (B, C, H, W) to exact float32 sums (B, O, H, W), plus a bias (O,) if given."""
    return _run(x, packed, bias, torch.float32, "none", [])


def convolve_activate(x: Tensor, packed: PackedWeight, bias: Tensor) -> Tensor:
    """uint8 (B, C, H, W) to activations: round(sums + bias) clamped to [0, 127], uint8."""
    return _run(x, packed, bias, torch.uint8, "hardtanh", [0.0, 127.0])


def _run(
    x: Tensor,
    packed: PackedWeight,
    bias: Tensor | None,
    dtype: torch.dtype,
    activation: str,
    scalars: list[float],
) -> Tensor:
    out: Tensor = torch.ops.onednn.qconv2d_pointwise(
        x, 1.0, 0, packed.weight, packed.scale, packed.zero_point, bias,
        packed.stride, packed.padding, _ONES, 1, 1.0, 0, dtype, activation, scalars, "",
    )  # fmt: skip
    return out


def convolve_add(x: Tensor, packed: PackedWeight, bias: Tensor, total: Tensor) -> Tensor:
    """As `convolve`, added to the float32 sums in `total`, which is overwritten."""
    out: Tensor = torch.ops.onednn.qconv2d_pointwise.binary(
        x, 1.0, 0, packed.weight, packed.scale, packed.zero_point, total, bias,
        packed.stride, packed.padding, _ONES, 1, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, None,
        [], "",
    )  # fmt: skip
    return out
