"""Full-reference image quality: what each metric is called, and the ones that need only numpy.

`METRICS` lists everything that compares a picture with its original; distances between sets of
pictures are in `distances`.

DISTS is not among them: its packages need torchvision and fetch the weights of VGG-16 at run time.
Butteraugli is not either, for want of a package that offers it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pliant.errors import MissingError
from pliant.evaluation.pixels import Pixels, as_rgb, check_pair

__all__ = [
    "METRICS",
    "PAIRWISE",
    "Metric",
    "PairMetric",
    "Pixels",
    "as_rgb",
    "available",
    "ms_ssim",
    "ms_ssim_db",
    "psnr",
    "psnr_y",
]

PairMetric: TypeAlias = Callable[[Pixels, Pixels], float]
_Planes: TypeAlias = npt.NDArray[np.float64]

PEAK = 255.0
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIDE = 161
LUMA_BT601 = (0.299, 0.587, 0.114)
_WINDOW_SIZE = 11
_WINDOW_SIGMA = 1.5
_C1 = (0.01 * PEAK) ** 2
_C2 = (0.03 * PEAK) ** 2


def psnr(reference: Pixels, image: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, of the mean squared error over all pixels and channels."""
    check_pair(reference, image)
    return _decibels(reference.astype(np.float64) - image)


def psnr_y(reference: Pixels, image: Pixels) -> float:
    """Peak signal-to-noise ratio of the luma, in dB.

    Luma is Y = 0.299 R + 0.587 G + 0.114 B of ITU-R BT.601 on the full range 0..255, not rounded;
    grey pictures are their own luma.
    """
    check_pair(reference, image)
    error = reference.astype(np.float64) - image
    if error.ndim == 3 and error.shape[2] == 3:
        error = error @ np.array(LUMA_BT601)
    return _decibels(error)


def _decibels(error: _Planes) -> float:
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
    check_pair(reference, image)
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


# --- what needs a package or weights ------------------------------------------------------------


def _lpips(net: str, reference: Pixels, image: Pixels) -> float:
    from pliant.evaluation import perceptual

    return perceptual.lpips(reference, image, net)


def _lpips_weights(net: str) -> None:
    from pliant.evaluation import perceptual

    perceptual.backbone(net)


def _ssimulacra2(reference: Pixels, image: Pixels) -> float:
    from pliant.evaluation import ssimulacra2

    return ssimulacra2.score(reference, image)


def _ssimulacra2_package() -> None:
    from pliant.evaluation import ssimulacra2

    ssimulacra2.package()


# --- the list -----------------------------------------------------------------------------------


def _nothing() -> None:
    """For metrics that need nothing more than Pliant itself."""


@dataclass(frozen=True)
class Metric:
    """One way to compare a picture with its original.

    Attributes:
        name: as in tables; label: as in plots, without the unit.
        unit: "dB", or empty for a plain number.
        worst, best: the ends of the scale; infinite where there is none.
        source: the publication, or the equation where there is none.
        compute: takes the original and the picture; raises ValueError where the metric is not
            defined for them, MissingError when a package or weights are missing.
        check: raises that MissingError, or DamagedError for weights, without computing anything.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    worst: float
    best: float
    source: str
    compute: PairMetric
    check: Callable[[], None] = _nothing


def _lpips_metric(net: str, label: str) -> Metric:
    return Metric(
        name=f"lpips_{net}",
        label=f"LPIPS-{label}",
        unit="",
        higher_is_better=False,
        worst=math.inf,
        best=0,
        source="Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018, arXiv:1801.03924; weights v0.1",
        compute=partial(_lpips, net),
        check=partial(_lpips_weights, net),
    )


_ALL = (
    Metric("psnr", "PSNR (RGB)", "dB", True, 0, math.inf, "10 log10(255² / MSE)", psnr),
    Metric(
        "psnr_y",
        "PSNR (luma)",
        "dB",
        True,
        0,
        math.inf,
        "10 log10(255² / MSE) of Y = 0.299 R + 0.587 G + 0.114 B",
        psnr_y,
    ),
    Metric(
        "ms_ssim",
        "MS-SSIM",
        "",
        True,
        0,
        1,
        "Wang, Simoncelli, Bovik, Asilomar 2003, doi:10.1109/ACSSC.2003.1292216",
        ms_ssim,
    ),
    Metric(
        "ssimulacra2",
        "SSIMULACRA 2.1",
        "",
        True,
        -math.inf,
        100,
        "Sneyers, Cloudinary 2022, updated 2023: github.com/cloudinary/ssimulacra2",
        _ssimulacra2,
        _ssimulacra2_package,
    ),
    _lpips_metric("squeeze", "SqueezeNet"),
    _lpips_metric("alex", "AlexNet"),
    _lpips_metric("vgg", "VGG"),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
PAIRWISE: dict[str, PairMetric] = {name: metric.compute for name, metric in METRICS.items()}


def available() -> tuple[str, ...]:
    """The names in `METRICS` whose packages and weights are at hand."""
    found = []
    for metric in METRICS.values():
        try:
            metric.check()
        except MissingError:
            continue
        found.append(metric.name)
    return tuple(found)
