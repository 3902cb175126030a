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

_process = os.getpid()  # that torch's threads are in
SMALLEST = 1 << 16  # values worth a thread: waking one takes as long as some ten thousand
_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def after_fork() -> None:
    """Leaves torch one thread in a forked process: the others have stayed behind.

    Whatever waits for them, as all of torch's larger operations do, would wait for ever.
    """
    global _process
    if os.getpid() != _process:
        _process = os.getpid()
        torch.set_num_threads(1)


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
    elif (team := _team()) is not None:
        _in_team(*team, works)
    else:
        pool = _pool(os.getpid())
        waiting = [pool.submit(work) for work in works[1:]]
        works[0]()
        for other in waiting:
            other.result()


def _in_team(
    start: Callable[..., Any], end: Callable[..., Any], works: Sequence[Callable[[], object]]
) -> None:
    waiting = iter(works)  # threads take turns in Python, so they can share it
    raised: list[BaseException] = []

    def others(_: int | None) -> None:
        try:
            for work in waiting:
                work()
        except BaseException as error:
            raised.append(error)

    # with fewer threads than torch's, the others would end and have to be started again
    arguments = _Body(others), None, torch.get_num_threads()
    try:  # an interrupt reaches this thread only, and after `start` at the earliest
        start(*arguments)
        for work in waiting:
            work()
    finally:
        end()
    if raised:
        raise raised[0]


@functools.cache
def _team() -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """Start (body of the other threads, data, threads) and end of a parallel region.

    Those of GNU OpenMP, which torch's operations use on Linux; None where there are none.
    """
    try:
        library = ctypes.CDLL(None)
        start, end = library.GOMP_parallel_start, library.GOMP_parallel_end
    except (OSError, TypeError, AttributeError):  # TypeError: on Windows
        return None
    start.argtypes, end.argtypes = [_Body, ctypes.c_void_p, ctypes.c_uint], []
    start.restype = end.restype = None
    return start, end


@functools.cache
def _pool(_process: int) -> ThreadPoolExecutor:
    """One pool for each process: threads do not survive a fork."""
    return ThreadPoolExecutor(thread_name_prefix="pliant")
