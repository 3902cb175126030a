"""Tensors for compiled loops, and the threads to run them.

The loops themselves are in the files `fused*`. They are used where no gradients are needed on the
CPU; the torch operations that they stand for remain, are what defines the result, and do everything
else. Only the search through the trellis has no such operations. To import the loops takes a while:
whoever uses them does it in a function.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALLEST = 1 << 16  # values worth a thread: waking one takes as long as some ten thousand
_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


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
    slices = max(1, min(torch.get_num_threads(), count, count * width // SMALLEST))
    if slices == 1:
        loop(0, count, *arguments)
        return
    ends = [count * i // slices for i in range(slices + 1)]
    at_once([functools.partial(loop, *part, *arguments) for part in itertools.pairwise(ends)])


def at_once(works: Sequence[Callable[[], object]]) -> None:
    """Calls all of them, at once where there are threads.

    Uses the threads of torch's own operations where it can: any others would have to share the
    cores with them, as they spin for a while after each operation. A thread has torch's settings
    (gradients, inference mode) of its own.

    Raises:
        Exception: what one of them raised; others may then not have been called.
    """
    if len(works) == 1 or torch.get_num_threads() == 1:
        for work in works:
            work()
    elif (parallel := _parallel()) is not None:
        _in_team(parallel, works)
    else:
        pool = _pool(os.getpid())
        waiting = [pool.submit(work) for work in works[1:]]
        works[0]()
        for other in waiting:
            other.result()


def _in_team(parallel: Callable[..., Any], works: Sequence[Callable[[], object]]) -> None:
    waiting = iter(works)  # threads take turns in Python, so they can share it
    done: list[object] = []
    raised: list[BaseException] = []

    def body(_: int | None) -> None:
        try:
            for work in waiting:
                done.append(work())
        except BaseException as error:
            raised.append(error)

    # with fewer threads than torch's, the others would end and have to be started again
    parallel(_Body(body), None, torch.get_num_threads(), 0)
    if raised:
        raise raised[0]
    if len(done) < len(works):  # nothing else ends a body outside of what it tries
        raise KeyboardInterrupt


@functools.cache
def _parallel() -> Callable[..., Any] | None:
    """GNU OpenMP's parallel region (body, data, threads, flags), if torch's operations use it."""
    try:
        parallel = ctypes.CDLL(None).GOMP_parallel
    except (OSError, TypeError, AttributeError):  # TypeError: on Windows
        return None
    parallel.argtypes = [_Body, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    found: Callable[..., Any] = parallel
    return found


@functools.cache
def _pool(_process: int) -> ThreadPoolExecutor:
    """One pool for each process: threads do not survive a fork."""
    return ThreadPoolExecutor(thread_name_prefix="pliant")
