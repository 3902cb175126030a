"""Batches for tests of training losses."""

from __future__ import annotations

from typing import Any

import torch

from pliant.training.data import Batch


def batch_of(photo: Any, count: int = 2) -> Batch:
    """Crops of 64 x 64 along the photo's diagonal, all of the finest rate."""
    crops = [
        torch.from_numpy(photo[k : k + 64, k : k + 64].copy()) for k in range(0, 90, 90 // count)
    ]
    image = torch.stack(crops[:count]).permute(0, 3, 1, 2).float()
    return Batch(image, torch.zeros(count, dtype=torch.float64))
