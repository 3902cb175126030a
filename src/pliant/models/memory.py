"""Counts the memory that a model decodes a pixel in, by running it on a small picture."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pliant.layers.exact import RateVector
from pliant.models.base import ImageModel
from pliant.units import RATE_MAX

PROCESS_SHARE: Final = 2.3
"""Memory of the process over that of the living tensors: the allocator leaves gaps between large
buffers, which `runtime.prepare` has it keep. benchmarks/memory.py measures 1.3 to 2.3, from run to
run up to 0.8 apart for the same model."""

_SIZE: Final = (64, 128)  # so large that what weights take besides is little


class _Living(TorchDispatchMode):
    """Sums the bytes of the tensors that operations inside make, while they live.

    Attributes:
        peak: the largest sum so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._sum = 0
        self._counted: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation and count what it made; views share what is counted already."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        number, size = id(storage), storage.nbytes()
        if number not in self._counted:
            self._counted.add(number)
            self._sum += size
            self.peak = max(self.peak, self._sum)
            weakref.finalize(storage, self._forget, number, size).atexit = False

    def _forget(self, number: int, size: int) -> None:
        self._counted.remove(number)
        self._sum -= size


@torch.inference_mode()
def bytes_per_pixel(model: ImageModel) -> float:
    """Memory of the process per pixel that the model's synthesis works on at a time.

    The prior needs less: its grids are coarser.
    """
    fastest, model.dtype = model.dtype, torch.float32  # the others need no more
    device = next(model.parameters()).device
    rate = RateVector(torch.tensor([RATE_MAX], device=device))
    image = torch.zeros(1, 3, *_SIZE, device=device)
    latents = model.scale(model.transform.analysis(image), rate)
    model.decoded(latents, rate)  # makes what is kept, such as packed weights
    living = _Living()
    with living:
        model.decoded(latents, rate)
    model.dtype = fastest
    return PROCESS_SHARE * living.peak / math.prod(_SIZE)
