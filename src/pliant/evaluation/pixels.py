"""Pictures as the metrics take them: uint8 of shape (H, W), (H, W, 1) or (H, W, 3)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]


def check_pair(reference: Pixels, image: Pixels) -> None:
    """Raises ValueError unless both are pictures as described above and of the same shape."""
    if reference.shape != image.shape:
        raise ValueError(f"images differ in shape: {reference.shape} and {image.shape}")
    if reference.dtype != np.uint8 or image.dtype != np.uint8:
        raise ValueError(f"images must be uint8, not {reference.dtype} and {image.dtype}")
    if reference.ndim not in (2, 3) or (reference.ndim == 3 and reference.shape[2] not in (1, 3)):
        raise ValueError(f"images must be (H, W) or (H, W, 1 or 3), not {reference.shape}")


def as_rgb(pixels: Pixels) -> Pixels:
    """(H, W, 3) of the same picture: grey ones are repeated."""
    planes = pixels.reshape(*pixels.shape[:2], -1)
    return planes if planes.shape[2] == 3 else np.repeat(planes, 3, axis=2)
