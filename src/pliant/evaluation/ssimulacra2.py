"""SSIMULACRA 2.1, as libjxl's tool computes it.

Sneyers, Cloudinary 2022, updated 2023: github.com/cloudinary/ssimulacra2. Colour space, error maps
and weights come from the package `ssimulacra2`. Its own function for whole pictures differs from
the tool by up to two points at 768x512, and by tens when a side is below 225 pixels: it blurs with
another kernel and other borders, and leaves out the coarsest scale of small pictures. So the blur
and the loop over the scales are done here: measured on Kodak, within 0.1 points of libjxl 0.11.2 up
to a score of 80, and up to 0.5 points above it near 90.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pliant.errors import MissingError
from pliant.evaluation.pixels import Pixels, as_rgb, check_pair

SCALES = 6
MIN_SIDE = 113  # the fifth scale then still has eight pixels, which the tool asks for
_SIGMA = 1.5

_Planes: TypeAlias = npt.NDArray[np.float64]


def package() -> ModuleType:
    """The module of the package that does most of the work.

    Raises:
        MissingError: it is not installed.
    """
    try:
        from ssimulacra2 import ssimulacra2
    except ImportError as error:
        raise MissingError("SSIMULACRA 2 needs ssimulacra2: pip install 'pliant[eval]'") from error
    module: ModuleType = ssimulacra2
    return module


def score(reference: Pixels, image: Pixels) -> float:
    """100 for equal pictures; 90 visually lossless, 70 high, 50 medium, 30 low quality; no floor.

    Takes about 0.45 KB of memory per pixel.

    Raises:
        ValueError: a side is below 113 pixels. The tool then gives the weights of missing scales to
            others, and its score means little.
        MissingError: as `package`.
    """
    check_pair(reference, image)
    if min(reference.shape[:2]) < MIN_SIDE:
        raise ValueError(f"SSIMULACRA 2 needs both sides >= {MIN_SIDE} pixels")
    library = package()
    linear = [library.srgb_to_linear(as_rgb(pixels)) for pixels in (reference, image)]
    result = library.Msssim()
    for scale in range(SCALES):
        if scale:
            linear = [library.downsample(planes, 2, 2) for planes in linear]
        x, y = (library.make_positive_xyb(library.linear_rgb_to_xyb(planes)) for planes in linear)
        mean_x, mean_y = _blur(x), _blur(y)
        part = library.MsssimScale()
        part.avg_ssim = library.ssim_map(mean_x, mean_y, _blur(x * x), _blur(y * y), _blur(x * y))
        part.avg_edgediff = library.edge_diff_map(x, mean_x, y, mean_y)
        result.scales.append(part)
    return float(result.score())


def _blur(planes: _Planes) -> _Planes:
    """Over the first two axes, with zeros around the picture."""
    from scipy import ndimage

    for axis in (0, 1):
        planes = ndimage.correlate1d(planes, _kernel(), axis=axis, mode="constant")
    return planes


@cache
def _kernel() -> _Planes:
    """The impulse response of libjxl's recursive Gaussian: three truncated cosines.

    Charalampidis, "Recursive Implementation of the Gaussian Filter Using Truncated Cosine
    Functions", IEEE Trans. Signal Processing 2016, equations 37, 44, 50, 52, 57.
    """
    radius = round(3.2795 * _SIGMA + 0.2546)
    frequency = np.pi * np.array([1, 3, 5]) / (2 * radius)
    sign = np.array([1, -1, 1])
    p = sign / np.tan(frequency / 2)
    r = sign * p**2 / np.sin(frequency)
    rho = np.exp(-0.5 * (_SIGMA * frequency) ** 2) / radius
    zeta = np.cross(p, r)  # proportional to (ζ15, ζ35, 1)
    weights = np.linalg.solve(
        np.stack([p, r, zeta]), np.array([1, radius**2 - _SIGMA**2, zeta @ rho])
    )
    offset = np.arange(-radius, radius + 1)
    kernel: _Planes = weights @ np.cos(np.outer(frequency, offset))
    return kernel
