"""Pliant and its rivals behind one interface: pixels and a quality in, the bytes of a file out.

For every codec a higher quality means more bytes, so that callers can search over it.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from PIL import AvifImagePlugin, Image, features

from pliant.errors import MissingError, UsageError
from pliant.evaluation.metrics import Pixels

if TYPE_CHECKING:
    from pliant.codec import Codec

_PERCENT = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)


@dataclass(frozen=True)
class ImageCodec:
    """One codec at fixed settings; only `quality` is free.

    `encode` takes uint8 (H, W, 3) and a quality and returns a complete file; `decode` inverts it.
    `version` names the library that does the work; results of released libraries may be cached.
    """

    name: str
    label: str
    version: str
    qualities: tuple[float, ...]
    encode: Callable[[Pixels, float], bytes]
    decode: Callable[[bytes], Pixels]
    released: bool = True


def find(name: str, *, threads: int = 1, separate_decoder: bool = True) -> ImageCodec:
    """The codec called `name`: one of `RIVALS`, `pliant`, or `pliant:MODEL`.

    Args:
        name: see above.
        threads: how many threads the codec may use, where it offers the choice.
        separate_decoder: decode Pliant's files in another process that has seen only the file.

    Raises:
        UsageError: no such codec or model.
        MissingError: the codec needs a package that is not installed.
    """
    base, _, model = name.partition(":")
    if base == "pliant":
        return _pliant(model or "default", threads, separate_decoder)
    if name not in _MAKERS:
        raise UsageError(f"unknown codec {name!r}; known: {', '.join((*RIVALS, 'pliant'))}")
    return _MAKERS[name](threads)


# --- through Pillow -----------------------------------------------------------------------------


def _save(pixels: Pixels, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_, **options)
    return bytes(buffer.getvalue())


def _open(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _version(library: str, feature: str) -> str:
    return f"Pillow {PIL.__version__}, {library} {features.version(feature)}"


def _jpeg(subsampling: str, threads: int) -> ImageCodec:
    def encode(pixels: Pixels, quality: float) -> bytes:
        return _save(pixels, "JPEG", quality=round(quality), subsampling=subsampling, optimize=True)

    return ImageCodec(
        name=f"jpeg-{subsampling.replace(':', '')}",
        label=f"JPEG {subsampling}",
        version=_version("libjpeg-turbo", "libjpeg_turbo"),
        qualities=(5, 10, 15, 25, 40, 55, 70, 80, 90, 95, 98),
        encode=encode,
        decode=_open,
    )


def _webp(threads: int) -> ImageCodec:
    return ImageCodec(
        name="webp",
        label="WebP method 6",
        version=_version("libwebp", "webp"),
        qualities=(0, 5, 15, 30, 50, 70, 80, 90, 95, 100),
        encode=lambda pixels, quality: _save(pixels, "WEBP", quality=round(quality), method=6),
        decode=_open,
    )


def _avif(subsampling: str, tune: str | None, threads: int) -> ImageCodec:
    # libavif 1.4 sets tune=iq unless told otherwise: fewer bits in MS-SSIM, more in PSNR.
    options = {"advanced": {"tune": tune}} if tune else {}

    def encode(pixels: Pixels, quality: float) -> bytes:
        return _save(
            pixels,
            "AVIF",
            quality=round(quality),
            subsampling=subsampling,
            speed=6,
            max_threads=threads,
            **options,
        )

    def decode(data: bytes) -> Pixels:
        AvifImagePlugin.DEFAULT_MAX_THREADS = threads
        return _open(data)

    return ImageCodec(
        name=f"avif-{subsampling.replace(':', '')}" + (f"-{tune}" if tune else ""),
        label=f"AVIF {subsampling} speed 6" + (f" tune={tune}" if tune else ""),
        version=_version("libavif", "avif"),
        qualities=_PERCENT,
        encode=encode,
        decode=decode,
    )


def _jpeg2000(threads: int) -> ImageCodec:
    def encode(pixels: Pixels, bpp: float) -> bytes:
        return _save(
            pixels,
            "JPEG2000",
            quality_mode="rates",
            quality_layers=[pixels.shape[2] * 8 / bpp],
            irreversible=True,
            mct=1,  # the colour transform, which Pillow leaves out unless asked
        )

    return ImageCodec(
        name="jpeg2000",
        label="JPEG 2000 (quality = bpp)",
        version=_version("OpenJPEG", "jpg_2000"),
        qualities=(0.08, 0.12, 0.2, 0.35, 0.6, 1.0, 1.6, 2.5, 3.5, 5.0),
        encode=encode,
        decode=_open,
    )


# --- JPEG XL ------------------------------------------------------------------------------------


def jxl_distance(quality: float) -> float:
    """libjxl's own map from quality 0..100 to Butteraugli distance."""
    if quality >= 30:
        return max(0.0, 0.1 + (100 - quality) * 0.09)
    return 53 / 3000 * quality * quality - 23 / 20 * quality + 25


def _jxl(threads: int) -> ImageCodec:
    try:
        import imagecodecs
    except ImportError as error:
        raise MissingError("JPEG XL needs imagecodecs: pip install 'pliant[eval]'") from error

    def encode(pixels: Pixels, quality: float) -> bytes:
        return bytes(
            imagecodecs.jpegxl_encode(
                pixels, effort=7, distance=jxl_distance(quality), lossless=False, numthreads=threads
            )
        )

    def decode(data: bytes) -> Pixels:
        return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=threads))

    return ImageCodec(
        name="jxl",
        label="JPEG XL effort 7",
        version=f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}",
        qualities=(1, 10, 20, 30, 50, 60, 70, 80, 90, 95, 98),
        encode=encode,
        decode=decode,
    )


# --- Pliant -------------------------------------------------------------------------------------


@cache
def _load(model: str, threads: int) -> Codec:
    import pliant

    codec = pliant.load(model)
    import torch  # after `pliant`, which sets up the process for it

    torch.set_num_threads(threads)
    return codec


@cache
def _decoder_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _decode(model: str, threads: int, data: bytes) -> Pixels:
    pixels = _load(model, threads).decode(data).pixels
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


def _decode_file(model: str, threads: int, path: str) -> Pixels:
    with open(path, "rb") as file:
        return _decode(model, threads, file.read())


def _decode_elsewhere(model: str, threads: int, data: bytes) -> Pixels:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "image.pli")
        with open(path, "wb") as file:
            file.write(data)
        return _decoder_process().submit(_decode_file, model, threads, path).result()


def _pliant(model: str, threads: int, separate_decoder: bool) -> ImageCodec:
    import pliant
    from pliant import runtime

    runtime.prepare()
    from pliant.models import registry  # imports torch

    entry = registry.entry(model)
    decode = _decode_elsewhere if separate_decoder else _decode
    return ImageCodec(
        name="pliant" if model == "default" else f"pliant:{model}",
        label="Pliant" if model == "default" else f"Pliant ({model})",
        version=f"pliant {pliant.__version__}, {entry.name} {entry.sha256[:8]}",
        qualities=(0, *range(5, 100, 10), 100),
        encode=lambda pixels, quality: _load(model, threads).encode(pixels, quality=quality),
        decode=partial(decode, model, threads),
        released=False,
    )


_MAKERS: dict[str, Callable[[int], ImageCodec]] = {
    "jpeg-420": partial(_jpeg, "4:2:0"),
    "jpeg-444": partial(_jpeg, "4:4:4"),
    "webp": _webp,
    "avif-444": partial(_avif, "4:4:4", None),
    "avif-444-psnr": partial(_avif, "4:4:4", "psnr"),
    "avif-420": partial(_avif, "4:2:0", None),
    "jxl": _jxl,
    "jpeg2000": _jpeg2000,
}
RIVALS = tuple(_MAKERS)
