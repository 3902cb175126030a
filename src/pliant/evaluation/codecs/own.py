"""Pliant itself; its files may be decoded in another process, as they are by users."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from pliant.errors import MissingError
from pliant.evaluation.codecs.base import Coder, Family, Request
from pliant.evaluation.metrics import Pixels

if TYPE_CHECKING:
    from pliant.codec import Codec

FINEST_LOSSY = 99.98  # the rate parameter is 0, and yet it is not quality 100


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


def _pliant(request: Request) -> Coder:
    import pliant
    from pliant import runtime

    runtime.prepare()
    from pliant.models import registry  # imports torch

    model, threads = request.model or "default", request.threads
    entry = registry.entry(model)
    if not entry.file:
        raise MissingError(f"the weights of the model {entry.name} are not installed")
    decode = _decode_elsewhere if request.separate_decoder else _decode
    return Coder(
        version=f"pliant {pliant.__version__}, {entry.name} {entry.sha256[:8]}",
        encode=lambda pixels, quality: _load(model, threads).encode(pixels, quality=quality),
        decode=partial(decode, model, threads),
    )


PLIANT = Family(
    name="pliant",
    label=lambda model, options: f"Pliant ({model})" if model else "Pliant",
    colour=lambda options: "RGB through the model's own colour transform, no subsampling.",
    extension="pli",
    make=_pliant,
    missing=lambda: None,
    qualities=(0, *range(5, 100, 10), FINEST_LOSSY),
    continuous=True,
    has_models=True,
    threaded=True,
    released=False,
)
