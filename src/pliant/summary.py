"""What a .pli file is, without decoding it: neither numpy nor torch is imported."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from pliant import imported
from pliant.container import Container, contents, read
from pliant.rate import to_quality
from pliant.units import RATE_MAX

_INDEX: Final = os.path.join(os.path.dirname(__file__), "models", "weights", "index.json")
_BLOCKS: Final = ("icc", "exif", "xmp")


def info(data: bytes | str | os.PathLike[str]) -> dict[str, Any]:
    """Return the facts about a file, given as bytes or as a path.

    Keys: bytes, bpp (bits of the file per pixel), width, height, layout, model (its name, or the
    id when it is not installed), model_id (8 hexadecimal digits), quality (0 to 100; None when
    the rate parameter is beyond the known range), rate, tile_size (0 is one tile), tiles,
    portable, version, alpha, icc, exif, xmp (bytes each; None when absent; alpha 0 is entirely
    opaque).
    Raises DamagedError when any checksum or field is wrong, OSError when a path cannot be read.
    """
    if isinstance(data, (str, os.PathLike)):
        with open(data, "rb") as stream:
            data = contents(stream)
    return describe(read(bytes(data)), len(data))


def describe(container: Container, size: int) -> dict[str, Any]:
    """Return what ``info`` does, for a file of ``size`` bytes that has been read already."""
    header = container.header
    alpha = len(container.alpha or b"") if header.has_alpha else None
    blocks = {name: getattr(container, name) for name in _BLOCKS}
    return {
        "bytes": size,
        "bpp": 8 * size / (header.width * header.height),
        "width": header.width,
        "height": header.height,
        "layout": header.layout,
        "model": _model_name(header.model_id),
        "model_id": header.model_id.hex(),
        "quality": to_quality(header.rate) if header.rate <= RATE_MAX else None,
        "rate": header.rate,
        "tile_size": 1 << header.tile_log2 if header.tile_log2 else 0,
        "tiles": header.tile_count,
        "portable": header.portable,
        "version": header.version,
        "alpha": alpha,
        **{name: None if block is None else len(block) for name, block in blocks.items()},
    }


def _model_name(model_id: bytes) -> str:
    """Look the id up in the index beside the weights; the registry itself would import torch."""
    try:
        with open(_INDEX, encoding="utf-8") as stream:
            hashes = {name: str(entry["sha256"]) for name, entry in json.load(stream).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        hashes = {}
    hashes |= {name: record.sha256 for name, record in imported.records().items()}
    found = (name for name, digest in hashes.items() if digest.startswith(model_id.hex()))
    return next(found, model_id.hex())
