"""A pool of decoded pictures beside their originals, so that one decoding serves many steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

ALIGNMENT = 8  # crops keep their place on the grids of the transform and of the network


class ReplayPool:
    """Pictures of one size; a new one takes the place of the oldest.

    Decoded pictures are held in half precision, whose error (below 0.1) is far below theirs.

    Args:
        capacity: in pictures.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._next = 0
        self._count = 0
        self._decoded = torch.empty(0)
        self._original = torch.empty(0)
        self._rate = torch.empty(0)

    def __len__(self) -> int:
        return self._count

    def add(self, decoded: Tensor, original: Tensor, rate: Tensor) -> None:
        """Takes in (B, 3, H, W) pictures on one device, and (B,) rate parameters."""
        if not self._count:
            shape = (self.capacity, *decoded.shape[1:])
            self._decoded = torch.empty(shape, dtype=torch.float16, device=decoded.device)
            self._original = torch.empty(shape, dtype=torch.uint8, device=decoded.device)
            self._rate = torch.empty(self.capacity, dtype=rate.dtype, device=rate.device)
        for one, other, r in zip(decoded, original, rate, strict=True):
            self._decoded[self._next] = one
            self._original[self._next] = other
            self._rate[self._next] = r
            self._next = (self._next + 1) % self.capacity
            self._count = min(self._count + 1, self.capacity)

    def crops(
        self, rng: np.random.Generator, count: int, size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(count, 3, size, size) decoded and original as float32, and (count,) rate parameters."""
        chosen = rng.integers(self._count, size=count)
        height, width = self._decoded.shape[2:]
        tops = rng.integers((height - size) // ALIGNMENT + 1, size=count) * ALIGNMENT
        lefts = rng.integers((width - size) // ALIGNMENT + 1, size=count) * ALIGNMENT
        places = list(zip(chosen.tolist(), tops.tolist(), lefts.tolist(), strict=True))

        def cut(pictures: Tensor) -> Tensor:
            parts = [pictures[i, :, t : t + size, k : k + size] for i, t, k in places]
            return torch.stack(parts).float()

        return cut(self._decoded), cut(self._original), self._rate[chosen.tolist()]

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""
        return {
            "decoded": self._decoded[: self._count].clone(),
            "original": self._original[: self._count].clone(),
            "rate": self._rate[: self._count].clone(),
            "next": self._next,
        }

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Inverse of `state`, for a pool of the same capacity."""
        self._next = self._count = 0
        if len(state["rate"]):
            self.add(*(state[name].to(device) for name in ("decoded", "original", "rate")))
        self._next = state["next"]
