"""Tensors for compiled loops, and the threads to run them.

The loops themselves are in the files `fused*`. They are used where no gradients are needed on the
CPU; the torch operations that they stand for remain, are what defines the result, and do everything
else. Only the search through the trellis has no such operations. To import the loops takes a while:
whoever uses them does it in a function.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SMALLEST = 1 << 16  # values worth a thread: waking one takes as long as some ten thousand


def compilable(*tensors: Tensor) -> bool:
    """Whether compiled loops may take the place of torch's operations on these tensors."""
    return not torch.is_grad_enabled() and all(
        x.device.type == "cpu" and x.dtype == torch.float32 for x in tensors
    )


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, np.ndarray]:
    """A tensor (B, C, H, W), channels last in memory, and the same memory as [B, H, W, C]."""
    batch, channels, height, width = shape
    memory = torch.empty((batch, height, width, channels), dtype=dtype)
    return memory.permute(0, 3, 1, 2), memory.numpy()


def channels_last(x: Tensor) -> np.ndarray:
    """(B, C, H, W) as [B, H, W, C]; the same memory where it lies like that."""
    return array(x.permute(0, 2, 3, 1))


def array(x: Tensor) -> np.ndarray:
    """Contiguous; the same memory where it lies like that."""
    return x.detach().contiguous().numpy()


def positions(x: np.ndarray) -> np.ndarray:
    """[B, H, W, C] as [B * H * W, C]."""
    return x.reshape(-1, x.shape[-1])


def in_slices(loop: Callable[..., Any], count: int, width: int, *arguments: Any) -> None:
    """Calls loop(first, last, *arguments) for slices of [0, count), at once.

    Args:
        loop: frees the GIL, and may treat the numbers in any order.
        width: about how many values each number stands for.
    """
    slices = max(1, min(torch.get_num_threads(), count, count * width // _SMALLEST))
    if slices == 1:
        loop(0, count, *arguments)
        return
    ends = [count * i // slices for i in range(slices + 1)]
    (first, last), *others = itertools.pairwise(ends)
    pool = _pool(os.getpid())
    waiting = [pool.submit(loop, *other, *arguments) for other in others]
    loop(first, last, *arguments)
    for slice_ in waiting:
        slice_.result()


@functools.cache
def _pool(_process: int) -> ThreadPoolExecutor:
    """One pool for each process: threads do not survive a fork."""
    return ThreadPoolExecutor(thread_name_prefix="pliant")
