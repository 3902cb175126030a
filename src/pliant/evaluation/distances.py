"""Distances between a set of pictures and what a codec made of them.

Protocol of HiFiC (Mentzer, Toderici, Tschannen, Agustsson, NeurIPS 2020): all patches of 256x256 on
a grid from the top left corner and on a second grid shifted by 128 in both directions, pooled over
all pictures. State the number of patches beside every value: the Fréchet distance falls as it
rises, even between equal sets, and it is biased upwards heavily below about five patches per
dimension. The kernel distance is unbiased, so it may be negative. Both sets show the same pictures,
so both distances may fall below those of two halves of the originals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pliant.errors import PliantError, UsageError
from pliant.evaluation.pictures import read_rgb
from pliant.evaluation.pixels import Pixels, as_rgb

if TYPE_CHECKING:
    from pliant.evaluation.features import Features, Vectors

__all__ = [
    "DISTANCES",
    "Distance",
    "Moments",
    "distances",
    "frechet",
    "kernel",
    "patch_count",
    "patches",
]

PATCH = 256
KERNEL_SUBSETS, KERNEL_SUBSET_SIZE, KERNEL_SEED = 100, 1000, 2020


# --- patches ------------------------------------------------------------------------------------


def patches(pixels: Pixels, size: int = PATCH) -> Pixels:
    """All patches of a picture as (N, size, size, 3), first grid first, row by row.

    Raises:
        UsageError: the picture is smaller than one patch.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < size:
        raise UsageError(f"no patch of {size}x{size} fits into {width}x{height} pixels")
    rgb = as_rgb(pixels)
    return np.concatenate([_grid(rgb, size), _grid(rgb[size // 2 :, size // 2 :], size)])


def patch_count(height: int, width: int, size: int = PATCH) -> int:
    """How many patches `patches` returns; 0 where it raises."""
    shifted = max(height - size // 2, 0), max(width - size // 2, 0)
    return math.prod(side // size for side in (height, width)) + math.prod(
        side // size for side in shifted
    )


def _grid(pixels: Pixels, size: int) -> Pixels:
    rows, columns = (side // size for side in pixels.shape[:2])
    whole = pixels[: rows * size, : columns * size]
    tiles = whole.reshape(rows, size, columns, size, 3).swapaxes(1, 2)
    return np.ascontiguousarray(tiles.reshape(rows * columns, size, size, 3))


# --- distances between sets of vectors ----------------------------------------------------------


class Moments:
    """Mean and covariance of vectors that come in batches.

    Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979: batches are centred before they are squared, so nothing cancels.
    """

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self.mean: Vectors = np.zeros(dimension)
        self._scatter: Vectors = np.zeros((dimension, dimension))

    def add(self, vectors: Vectors) -> None:
        """Takes in (N, dimension)."""
        if not len(vectors):
            return
        total = self.count + len(vectors)
        mean = vectors.mean(0)
        centred, shift = vectors - mean, mean - self.mean
        self._scatter += centred.T @ centred
        self._scatter += np.outer(shift, shift) * (self.count * len(vectors) / total)
        self.mean = self.mean + shift * (len(vectors) / total)
        self.count = total

    @property
    def covariance(self) -> Vectors:
        """With N - 1 in the denominator.

        Raises:
            ValueError: there are fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError("a covariance needs at least two vectors")
        return np.asarray(self._scatter / (self.count - 1))


def frechet(a: Moments, b: Moments) -> float:
    """|μa - μb|² + tr(Σa + Σb - 2 (Σa Σb)^½), the squared Fréchet distance of two Gaussians.

    The trace of the root is the sum of the roots of the eigenvalues of Σa^½ Σb Σa^½, which is
    symmetric: unlike a matrix root of Σa Σb it stays real when there are fewer vectors than
    dimensions. What rounding made negative, eigenvalues or the result, counts as zero.
    """
    root = _square_root(a.covariance)
    product = np.linalg.eigvalsh(root @ b.covariance @ root)
    shift = a.mean - b.mean
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    distance = shift @ shift + traces - 2 * np.sqrt(product.clip(min=0)).sum()
    return max(0.0, float(distance))


def _square_root(covariance: Vectors) -> Vectors:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)


def kernel(a: Vectors, b: Vectors, gamma: float | None = None) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy under the kernel (γ x·y + 1)³.

    Bińkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", ICLR 2018, equation 4 with all
    pairs in the cross term. Above 1000 vectors it is the mean over 100 subsets of 1000, each drawn
    without repetition from a fixed seed, as is usual for KID.

    Args:
        a, b: (N, dimension), at least two vectors each.
        gamma: 1 / dimension unless given.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError("a kernel distance needs at least two vectors on either side")
    gamma = 1 / a.shape[1] if gamma is None else gamma
    if max(len(a), len(b)) <= KERNEL_SUBSET_SIZE:
        return _discrepancy(a, b, gamma)
    generator = np.random.default_rng(KERNEL_SEED)

    def subset(vectors: Vectors) -> Vectors:
        size = min(len(vectors), KERNEL_SUBSET_SIZE)
        return vectors[generator.choice(len(vectors), size, replace=False)]

    found = [_discrepancy(subset(a), subset(b), gamma) for _ in range(KERNEL_SUBSETS)]
    return float(np.mean(found))


def _discrepancy(a: Vectors, b: Vectors, gamma: float) -> float:
    def cubic(x: Vectors, y: Vectors) -> Vectors:
        return np.asarray((gamma * (x @ y.T) + 1) ** 3)

    def within(x: Vectors) -> float:
        values = cubic(x, x)
        return float((values.sum() - np.trace(values)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(cubic(a, b).mean())


# --- distances between sets of pictures ---------------------------------------------------------


class _Collection:
    """The vectors of all patches of a set of pictures, and their moments."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self.moments = Moments(features.dimension)
        self._batches: list[Vectors] = []

    def add(self, batch: Pixels) -> None:
        vectors = self.features(batch)
        self.moments.add(vectors)
        self._batches.append(vectors)

    @property
    def vectors(self) -> Vectors:
        return np.concatenate(self._batches)


def _frechet_of(a: _Collection, b: _Collection) -> float:
    return frechet(a.moments, b.moments)


def _kernel_of(a: _Collection, b: _Collection) -> float:
    return kernel(a.vectors, b.vectors, a.features.gamma)


@dataclass(frozen=True)
class Distance:
    """One distance between sets of pictures; lower is better, 0 for equal sets.

    Attributes:
        name: as `distances` takes it; label: as in tables.
        features: as `find_features` takes it.
        factor: by which the value is multiplied; 1000 where the vectors have unit length.
    """

    name: str
    label: str
    features: str
    factor: float
    compute: Callable[[_Collection, _Collection], float]


_ALL = (
    Distance("fid", "FID", "inception", 1, _frechet_of),
    Distance("kid", "KID", "inception", 1, _kernel_of),
    Distance("fd_squeeze", "FD-squeeze × 1000", "squeeze", 1000, _frechet_of),
    Distance("kd_squeeze", "KD-squeeze × 1000", "squeeze", 1000, _kernel_of),
    Distance("fd_random", "FD-random × 1000", "random", 1000, _frechet_of),
    Distance("kd_random", "KD-random × 1000", "random", 1000, _kernel_of),
)
DISTANCES: dict[str, Distance] = {distance.name: distance for distance in _ALL}


def distances(
    reference_paths: Sequence[Path],
    decoded: Iterable[Pixels],
    names: Sequence[str],
    size: int = PATCH,
) -> dict[str, float]:
    """The distances called `names` between originals and decoded pictures.

    Pictures are read one at a time; only the vectors of their patches are kept, those of the
    originals for further calls too.

    Args:
        reference_paths: the originals.
        decoded: one picture for each of them.
        names: keys of `DISTANCES`.
        size: of the patches.

    Raises:
        UsageError: a name is unknown, a picture is smaller than a patch, or the sets do not match.
        MissingError: a package or weights are missing.
    """
    unknown = [name for name in names if name not in DISTANCES]
    if unknown:
        raise UsageError(f"unknown distance {unknown[0]!r}; known: {', '.join(DISTANCES)}")
    needed = {DISTANCES[name].features for name in names}
    originals = {name: _originals(tuple(reference_paths), name, size) for name in sorted(needed)}
    found = {name: _Collection(collection.features) for name, collection in originals.items()}
    for pixels in decoded:
        batch = patches(pixels, size)
        for collection in found.values():
            collection.add(batch)
    result = {}
    for name in names:
        distance = DISTANCES[name]
        a, b = originals[distance.features], found[distance.features]
        if a.moments.count != b.moments.count or a.moments.count < 2:
            counts = f"{a.moments.count} of the originals, {b.moments.count} decoded"
            raise UsageError(f"sets of at least two patches must match: {counts}")
        result[name] = distance.factor * distance.compute(a, b)
    return result


@lru_cache(maxsize=4)
def _originals(paths: tuple[Path, ...], features: str, size: int) -> _Collection:
    from pliant.evaluation.features import find_features  # loads torch

    found = _Collection(find_features(features))
    for path in paths:
        try:
            batch = patches(read_rgb(path), size)
        except PliantError as error:
            raise type(error)(f"{path.name}: {error}") from error
        found.add(batch)
    return found
