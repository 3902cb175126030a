"""Where a codec does worst and best against the anchor: crops of both at equal bytes.

The crops come from the kept files. The place shown is the one where the two differ most in squared
error, to the codec's disadvantage in its worst image and to its advantage in its best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pliant.errors import PliantError
from pliant.evaluation import kept
from pliant.evaluation.curves import BDRate
from pliant.evaluation.document import Picture
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import digest, read_rgb
from pliant.evaluation.sheet import Box, highest, squared_error
from pliant.evaluation.table import Row
from pliant.files import output_file

# Differences show best at low rates; equal bytes matter more than the exact rate.
_RATE, _RATE_WEIGHT = 0.25, 0.1


@dataclass(frozen=True)
class Extreme:
    """The image where a codec's own BD-rate against the anchor is highest or lowest."""

    codec: str
    image: str
    percent: float
    worst: bool


def extremes(codec: str, own: Mapping[str, BDRate]) -> list[Extreme]:
    """The worst and the best image by the images' own BD-rates; one entry if there is one image."""
    if not own:
        return []
    order = sorted(own, key=lambda image: own[image].percent)
    worst = Extreme(codec, order[-1], own[order[-1]].percent, worst=True)
    best = Extreme(codec, order[0], own[order[0]].percent, worst=False)
    return [worst, best] if len(order) > 1 else [worst]


def nearest_pair(anchor: Sequence[Row], test: Sequence[Row]) -> tuple[Row, Row] | None:
    """The rows (anchor's, test's) with kept files whose bytes are most nearly equal.

    Among pairs that are nearly as close, one around 0.25 bpp.
    """
    pairs = [(a, t) for a in anchor for t in test if a.file and t.file]

    def cost(pair: tuple[Row, Row]) -> float:
        a, t = pair
        return abs(math.log(t.bytes / a.bytes)) + _RATE_WEIGHT * abs(math.log(t.bpp / _RATE))

    return min(pairs, key=cost, default=None)


def cut(
    extreme: Extreme, anchor: Sequence[Row], test: Sequence[Row], folder: Path, images: Path
) -> list[Picture]:
    """Writes crops of the original, the anchor and the codec at nearly equal bytes.

    Args:
        extreme: the image, and which kind of place to look for.
        anchor, test: the rows of that image.
        folder: of the run, with the kept files; the crops go to its `crops`.
        images: the folder of the originals.

    Raises:
        PliantError: the original, a kept file or a codec is not there, or not what it was.
    """
    pair = nearest_pair(anchor, test)
    if pair is None:
        raise PliantError(f"no kept files of {extreme.image}")
    original = _original(images / extreme.image, pair[0].digest)
    decoded = [kept.decode(folder, row) for row in pair]
    if any(picture.shape != original.shape for picture in decoded):
        raise PliantError(f"a kept file of {extreme.image} decodes to another size")
    box = place(original, decoded[0], decoded[1], worst=extreme.worst)
    kind = "worst" if extreme.worst else "best"
    stem = f"{Path(pair[1].file).parent.name}-{kind}"
    captions = ["original", _caption(pair[0], 1), _caption(pair[1], pair[1].bytes / pair[0].bytes)]
    pictures = []
    for name, caption, picture in zip(
        ("original", "anchor", "codec"), captions, (original, *decoded), strict=True
    ):
        path = folder / "crops" / f"{stem}-{name}.png"
        _save(box.crop(picture), path)
        alt = f"Crop of {extreme.image}, where {extreme.codec} does {kind}: {caption}"
        pictures.append(Picture(path, alt, caption))
    return pictures


def _caption(row: Row, ratio: float) -> str:
    more = f" ({100 * (ratio - 1):+.0f}\u00a0%)" if abs(ratio - 1) >= 0.005 else ""
    return f"{row.codec} at {row.quality:g}: {row.bytes:,}\u00a0bytes{more}, {row.psnr:.2f}\u00a0dB"


def place(original: Pixels, anchor: Pixels, test: Pixels, *, worst: bool) -> Box:
    """The square where `test` loses most against `anchor`, or wins most."""
    loss = squared_error(original, test) - squared_error(original, anchor)
    return highest(loss if worst else -loss)


def _original(path: Path, expected: str) -> Pixels:
    if not path.is_file():
        raise PliantError(f"the original {path} is not there")
    try:
        pixels = read_rgb(path)
    except PliantError as error:
        raise type(error)(f"{path}: {error}") from error
    if expected and digest(pixels) != expected:
        raise PliantError(f"{path} is not the picture that was measured")
    return pixels


def _save(pixels: Pixels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with output_file(path, force=True) as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
