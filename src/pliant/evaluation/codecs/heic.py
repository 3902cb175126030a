"""HEIC (HEVC intra in HEIF) through pillow-heif: x265 encodes, libde265 decodes."""

from __future__ import annotations

import io

import numpy as np

from pliant.evaluation.codecs.base import Coder, Family, Option, Request, needs_package
from pliant.evaluation.codecs.through_pillow import chroma
from pliant.evaluation.metrics import Pixels


def _heic(request: Request) -> Coder:
    import pillow_heif

    subsampling, threads = chroma(request.options), request.threads

    def encode(pixels: Pixels, quality: float) -> bytes:
        buffer = io.BytesIO()
        height, width = pixels.shape[:2]
        pillow_heif.encode(
            "RGB",
            (width, height),
            pixels.tobytes(),
            buffer,
            quality=round(quality),
            subsampling=subsampling,
            enc_params={"x265:pools": str(threads)},
        )
        return buffer.getvalue()

    def decode(data: bytes) -> Pixels:
        pillow_heif.options.DECODE_THREADS = threads
        return np.array(pillow_heif.open_heif(data))

    library = pillow_heif.libheif_info()
    encoder = str(library["HEIF"]).replace(" HEVC encoder", "")
    return Coder(
        version=f"pillow-heif {pillow_heif.__version__}, libheif {library['libheif']}, {encoder}",
        encode=encode,
        decode=decode,
    )


HEIC = Family(
    name="heic",
    label=lambda model, options: f"HEIC {chroma(options)}, x265",
    colour=lambda options: f"YCbCr (BT.601, full range) {chroma(options)}, 8 bit, by libheif.",
    extension="heic",
    make=_heic,
    missing=needs_package("HEIC", "pillow-heif", "pillow_heif"),
    qualities=(1, 10, 20, 30, 40, 50, 60, 70, 80, 90),
    options={"subsampling": Option("420", ("420", "444"))},
    threaded=True,
)
