"""Where a codec does worst and best against the anchor: crops of both at equal bytes.

The crops come from the kept files. The place shown is the one where the two differ most in squared
error, to the codec's disadvantage in its worst image and to its advantage in its best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pliant.errors import PliantError
from pliant.evaluation import codecs
from pliant.evaluation.curves import BDRate
from pliant.evaluation.document import Picture
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import digest, read_rgb
from pliant.evaluation.table import Row
from pliant.files import output_file

SIDE = 128  # pixels
_STEP = 16
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
    decoded = [_decoded(row, folder) for row in pair]
    if any(picture.shape != original.shape for picture in decoded):
        raise PliantError(f"a kept file of {extreme.image} decodes to another size")
    top, left = place(original, decoded[0], decoded[1], worst=extreme.worst)
    kind = "worst" if extreme.worst else "best"
    stem = f"{Path(pair[1].file).parent.name}-{kind}"
    captions = ["original", _caption(pair[0], 1), _caption(pair[1], pair[1].bytes / pair[0].bytes)]
    pictures = []
    for name, caption, picture in zip(
        ("original", "anchor", "codec"), captions, (original, *decoded), strict=True
    ):
        path = folder / "crops" / f"{stem}-{name}.png"
        _save(picture[top : top + SIDE, left : left + SIDE], path)
        alt = f"Crop of {extreme.image}, where {extreme.codec} does {kind}: {caption}"
        pictures.append(Picture(path, alt, caption))
    return pictures


def _caption(row: Row, ratio: float) -> str:
    more = f" ({100 * (ratio - 1):+.0f}\u00a0%)" if abs(ratio - 1) >= 0.005 else ""
    return f"{row.codec} at {row.quality:g}: {row.bytes:,}\u00a0bytes{more}, {row.psnr:.2f}\u00a0dB"


def place(original: Pixels, anchor: Pixels, test: Pixels, *, worst: bool) -> tuple[int, int]:
    """Top and left of the square where `test` loses most against `anchor`, or wins most."""
    difference = _squared_error(original, test) - _squared_error(original, anchor)
    if not worst:
        difference = -difference
    # Sums over all squares at once by the integral image.
    integral = np.pad(difference.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = difference.shape
    tops = np.arange(0, max(1, height - SIDE + 1), _STEP)
    lefts = np.arange(0, max(1, width - SIDE + 1), _STEP)
    bottoms, rights = np.minimum(tops + SIDE, height), np.minimum(lefts + SIDE, width)
    sums = (
        integral[np.ix_(bottoms, rights)]
        - integral[np.ix_(tops, rights)]
        - integral[np.ix_(bottoms, lefts)]
        + integral[np.ix_(tops, lefts)]
    )
    row, column = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(tops[row]), int(lefts[column])


def _squared_error(original: Pixels, picture: Pixels) -> npt.NDArray[np.float64]:
    error = original.astype(np.float64) - picture
    squared: npt.NDArray[np.float64] = (error * error).sum(2)
    return squared


def _original(path: Path, expected: str) -> Pixels:
    if not path.is_file():
        raise PliantError(f"the original {path} is not there")
    pixels = read_rgb(path)
    if expected and digest(pixels) != expected:
        raise PliantError(f"{path} is not the picture that was measured")
    return pixels


def _decoded(row: Row, folder: Path) -> Pixels:
    file = folder / row.file
    if not file.is_file():
        raise PliantError(f"the kept file {file} is not there")
    return _codec(row.codec).decode(file.read_bytes())


@cache
def _codec(name: str) -> codecs.ImageCodec:
    return codecs.find(name, separate_decoder=False)


def _save(pixels: Pixels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with output_file(path, force=True) as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
