"""JPEG XL through imagecodecs."""

from __future__ import annotations

import numpy as np

from pliant.evaluation.codecs.base import Coder, Family, Option, Request, needs_package
from pliant.evaluation.metrics import Pixels


def jxl_distance(quality: float) -> float:
    """libjxl's own map from quality 0..100 to Butteraugli distance."""
    if quality >= 30:
        return max(0.0, 0.1 + (100 - quality) * 0.09)
    return 53 / 3000 * quality * quality - 23 / 20 * quality + 25


def _jxl(request: Request) -> Coder:
    import imagecodecs

    effort, threads = int(request.options["effort"]), request.threads

    def encode(pixels: Pixels, quality: float) -> bytes:
        distance = jxl_distance(quality)
        return bytes(
            imagecodecs.jpegxl_encode(
                pixels, effort=effort, distance=distance, lossless=False, numthreads=threads
            )
        )

    def decode(data: bytes) -> Pixels:
        return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=threads))

    return Coder(
        version=f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}",
        encode=encode,
        decode=decode,
    )


JXL = Family(
    name="jxl",
    label=lambda model, options: f"JPEG XL effort {options['effort']}",
    colour=lambda options: "XYB 4:4:4, by libjxl.",
    extension="jxl",
    make=_jxl,
    missing=needs_package("JPEG XL", "imagecodecs", "imagecodecs"),
    qualities=(1, 10, 20, 30, 50, 60, 70, 80, 90, 95, 98),
    options={"effort": Option("7", tuple("123456789"))},
    continuous=True,
    threaded=True,
)
