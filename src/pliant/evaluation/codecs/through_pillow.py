"""JPEG, JPEG 2000, WebP and AVIF, as Pillow writes and reads them."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import PIL
from PIL import AvifImagePlugin, Image, features

from pliant.evaluation.codecs.base import Coder, Family, Option, Options, Request
from pliant.evaluation.metrics import Pixels
from pliant.image import decoding


def chroma(options: Options) -> str:
    """The option `subsampling` as libraries and people write it, 4:2:0."""
    return ":".join(options["subsampling"])


def save(pixels: Pixels, format_: str, **options: Any) -> bytes:
    """The file that Pillow writes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_, **options)
    return bytes(buffer.getvalue())


def load(data: bytes) -> Pixels:
    """RGB pixels of a file that Pillow reads."""
    with decoding(), Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _jpeg(request: Request) -> Coder:
    subsampling = chroma(request.options)

    def encode(pixels: Pixels, quality: float) -> bytes:
        return save(pixels, "JPEG", quality=round(quality), subsampling=subsampling, optimize=True)

    return Coder(
        version=_version("libjpeg-turbo", "libjpeg_turbo"),
        encode=encode,
        decode=load,
    )


def _webp(request: Request) -> Coder:
    method = int(request.options["method"])
    return Coder(
        version=_version("libwebp", "webp"),
        encode=lambda pixels, quality: save(pixels, "WEBP", quality=round(quality), method=method),
        decode=load,
    )


def _avif(request: Request) -> Coder:
    subsampling = chroma(request.options)
    speed, tune = int(request.options["speed"]), request.options["tune"]
    advanced = {} if tune == "default" else {"advanced": {"tune": tune}}

    def encode(pixels: Pixels, quality: float) -> bytes:
        return save(
            pixels,
            "AVIF",
            quality=round(quality),
            subsampling=subsampling,
            speed=speed,
            max_threads=request.threads,
            **advanced,
        )

    def decode(data: bytes) -> Pixels:
        AvifImagePlugin.DEFAULT_MAX_THREADS = request.threads
        return load(data)

    return Coder(
        version=_version("libavif", "avif"),
        encode=encode,
        decode=decode,
    )


def _avif_label(model: str, options: Options) -> str:
    tune = "" if options["tune"] == "default" else f" tune={options['tune']}"
    return f"AVIF {chroma(options)} speed {options['speed']}{tune}"


def _jpeg2000(request: Request) -> Coder:
    def encode(pixels: Pixels, bpp: float) -> bytes:
        return save(
            pixels,
            "JPEG2000",
            quality_mode="rates",
            quality_layers=[pixels.shape[2] * 8 / bpp],
            irreversible=True,
            mct=1,  # the colour transform, which Pillow leaves out unless asked
        )

    return Coder(
        version=_version("OpenJPEG", "jpg_2000"),
        encode=encode,
        decode=load,
    )


def _version(library: str, feature: str) -> str:
    return f"Pillow {PIL.__version__}, {library} {features.version(feature)}"


def _missing(what: str, feature: str) -> str | None:
    # `features.check` is typed for a fixed set of names in some releases of Pillow.
    return None if features.check(feature) else f"{what} needs a Pillow that was built with it"


def _built_in(what: str, feature: str) -> Callable[[], str | None]:
    return partial(_missing, what, feature)


JPEG = Family(
    name="jpeg",
    label=lambda model, options: f"JPEG {chroma(options)}",
    colour=lambda options: (
        f"YCbCr (BT.601, full range) {chroma(options)}, 8 bit, by libjpeg-turbo."
    ),
    extension="jpg",
    make=_jpeg,
    missing=_built_in("JPEG", "jpg"),
    qualities=(5, 10, 15, 25, 40, 55, 70, 80, 90, 95, 98),
    options={"subsampling": Option("420", ("420", "422", "444"))},
)
WEBP = Family(
    name="webp",
    label=lambda model, options: f"WebP method {options['method']}",
    colour=lambda options: "YCbCr (BT.601, limited range) 4:2:0, 8 bit, by libwebp.",
    extension="webp",
    make=_webp,
    missing=_built_in("WebP", "webp"),
    qualities=(0, 5, 15, 30, 50, 70, 80, 90, 95, 100),
    options={"method": Option("6", tuple("0123456"))},
)
# libavif 1.4 tunes for iq unless told otherwise: fewer bits in MS-SSIM, more in PSNR.
AVIF = Family(
    name="avif",
    label=_avif_label,
    colour=lambda options: f"YCbCr (BT.601, full range) {chroma(options)}, 8 bit, by libavif.",
    extension="avif",
    make=_avif,
    missing=_built_in("AVIF", "avif"),
    qualities=(1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95),
    options={
        "subsampling": Option("420", ("420", "422", "444")),
        "speed": Option("6", tuple(map(str, range(11)))),
        "tune": Option("default", ("default", "psnr", "ssim", "iq")),
    },
    threaded=True,
)
JPEG2000 = Family(
    name="jpeg2000",
    label=lambda model, options: "JPEG 2000 (quality = bpp)",
    colour=lambda options: (
        "The standard's irreversible transform (YCbCr, BT.601) 4:4:4, by OpenJPEG."
    ),
    extension="jp2",
    make=_jpeg2000,
    missing=_built_in("JPEG 2000", "jpg_2000"),
    qualities=(0.08, 0.12, 0.2, 0.35, 0.6, 1.0, 1.6, 2.5, 3.5, 5.0),
    search=tuple(0.02 * 1.02**step for step in range(351)),  # 0.02 to 20 bpp
    continuous=True,
)
