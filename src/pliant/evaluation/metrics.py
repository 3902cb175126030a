"""Image quality metrics on uint8 arrays of shape (H, W) or (H, W, C)."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]
_Planes: TypeAlias = npt.NDArray[np.float64]

PEAK = 255.0
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIDE = 161
_WINDOW_SIZE = 11
_WINDOW_SIGMA = 1.5
_C1 = (0.01 * PEAK) ** 2
_C2 = (0.03 * PEAK) ** 2


def psnr(reference: Pixels, image: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, of the mean squared error over all pixels and channels."""
    _check_pair(reference, image)
    error = reference.astype(np.float64) - image
    mse = float(np.mean(error * error))
    return math.inf if mse == 0 else 10 * math.log10(PEAK * PEAK / mse)


def ms_ssim(reference: Pixels, image: Pixels) -> float:
    """Multi-scale structural similarity, mean over the channels; 1 for equal images.

    Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", 2003:
    five scales, Gaussian window of 11x11 with sigma 1.5, only where it fits. Odd sizes repeat their
    last row and column before they are halved.

    Raises:
        ValueError: a side is below 161 pixels, so the window would not fit at the coarsest scale.
    """
    _check_pair(reference, image)
    if min(reference.shape[:2]) < MS_SSIM_MIN_SIDE:
        raise ValueError(f"MS-SSIM needs both sides >= {MS_SSIM_MIN_SIDE} pixels")
    x, y = _planes(reference), _planes(image)
    product = np.ones(len(x))
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            x, y = _halve(x), _halve(y)
        ssim, contrast_structure = _ssim(x, y)
        last = scale == len(MS_SSIM_WEIGHTS) - 1
        # A negative similarity has no real power: such a pair scores zero.
        product *= np.maximum(ssim if last else contrast_structure, 0) ** weight
    return float(np.mean(product))


def ms_ssim_db(value: float) -> float:
    """MS-SSIM as -10 log10(1 - value), which spreads out the values close to one."""
    return math.inf if value >= 1 else -10 * math.log10(1 - value)


def _check_pair(reference: Pixels, image: Pixels) -> None:
    if reference.shape != image.shape:
        raise ValueError(f"images differ in shape: {reference.shape} and {image.shape}")
    if reference.dtype != np.uint8 or image.dtype != np.uint8:
        raise ValueError(f"images must be uint8, not {reference.dtype} and {image.dtype}")


def _planes(pixels: Pixels) -> _Planes:
    """(H, W) or (H, W, C) to (C, H, W)."""
    height, width = pixels.shape[:2]
    planes = pixels.reshape(height, width, -1).transpose(2, 0, 1)
    return np.ascontiguousarray(planes, dtype=np.float64)


def _halve(planes: _Planes) -> _Planes:
    height, width = planes.shape[1:]
    padded = np.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    columns = padded[..., 0::2] + padded[..., 1::2]
    halved: _Planes = (columns[:, 0::2] + columns[:, 1::2]) / 4
    return halved


def _gaussian_window() -> _Planes:
    offset = np.arange(_WINDOW_SIZE) - _WINDOW_SIZE // 2
    window = np.exp(-(offset**2) / (2 * _WINDOW_SIGMA**2))
    normalised: _Planes = window / window.sum()
    return normalised


def _blur(planes: _Planes) -> _Planes:
    """Separable Gaussian, only where the whole window fits: (C, H, W) to (C, H - 10, W - 10)."""
    window = _gaussian_window()
    height, width = (side - _WINDOW_SIZE + 1 for side in planes.shape[1:])
    rows = sum(w * planes[:, i : i + height] for i, w in enumerate(window))
    return np.asarray(sum(w * rows[..., i : i + width] for i, w in enumerate(window)))


def _ssim(x: _Planes, y: _Planes) -> tuple[_Planes, _Planes]:
    """Means per channel of SSIM and of its contrast-structure part."""
    mean_x, mean_y = _blur(x), _blur(y)
    mean_product = mean_x * mean_y
    mean_squares = mean_x * mean_x + mean_y * mean_y
    covariance = _blur(x * y) - mean_product
    variances = _blur(x * x + y * y) - mean_squares
    contrast_structure = (2 * covariance + _C2) / (variances + _C2)
    luminance = (2 * mean_product + _C1) / (mean_squares + _C1)
    return (luminance * contrast_structure).mean((1, 2)), contrast_structure.mean((1, 2))
