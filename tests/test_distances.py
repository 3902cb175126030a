"""Distances between sets: check values, closed forms, and the protocol of the patches."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pliant.errors import UsageError
from pliant.evaluation import distances, perceptual
from pliant.evaluation.distances import Moments, frechet, kernel
from pliant.evaluation.features import Vectors, find_features
from pliant.evaluation.pictures import images_in, read_rgb
from pliant.evaluation.pixels import Pixels


def moments(vectors: Vectors) -> Moments:
    result = Moments(vectors.shape[1])
    result.add(vectors)
    return result


def check_sets() -> tuple[Vectors, Vectors]:
    i, j = np.mgrid[:50, :8].astype(np.float64)
    x = np.sin(0.7 * i + 1.3 * j + 0.1 * i * j)
    return x, np.cos(0.5 * i + 0.9 * j + 0.07 * i * j) + 0.2


# --- patches ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "width,height,size,count",
    [
        (768, 512, 256, 6 + 2),
        (768, 512, 128, 24 + 15),
        (768, 512, 64, 96 + 77),
        (383, 400, 256, 1),
        (384, 384, 256, 2),
        (384, 383, 256, 1),
        (256, 256, 256, 1),
    ],
)
def test_patch_counts(width: int, height: int, size: int, count: int) -> None:
    found = distances.patches(np.zeros((height, width, 3), np.uint8), size)
    assert found.shape == (count, size, size, 3)
    assert distances.patch_count(height, width, size) == count


def test_patches_come_from_their_places() -> None:
    y, x = np.mgrid[:40, :50]
    picture = np.stack([y, x, y * 0], 2).astype(np.uint8)
    found = distances.patches(picture, 16)
    corners = [(int(p[0, 0, 0]), int(p[0, 0, 1])) for p in found]
    assert corners == [
        *((0, 0), (0, 16), (0, 32), (16, 0), (16, 16), (16, 32)),
        *((8, 8), (8, 24), (24, 8), (24, 24)),
    ]
    assert (found[7] == picture[8:24, 24:40]).all()
    grey = distances.patches(picture[..., 0], 16)
    assert (grey == picture[None, :16, :16, :1]).all(axis=(1, 2, 3))[0]


def test_pictures_without_patch_are_refused() -> None:
    assert distances.patch_count(255, 999) == 0
    with pytest.raises(UsageError, match="256x256 fits into 999x255"):
        distances.patches(np.zeros((255, 999, 3), np.uint8))


# --- Fréchet distance ---------------------------------------------------------------------------


def test_moments_of_batches_equal_those_of_all() -> None:
    vectors = np.random.default_rng(0).normal(1e6, 1, (101, 5)) * [1, 2, 3, 4, 5]
    found = Moments(5)
    for part in np.split(vectors, [3, 3, 50, 100]):
        found.add(part)
    assert found.count == 101
    assert found.mean == pytest.approx(vectors.mean(0), rel=1e-12)
    assert found.covariance == pytest.approx(np.cov(vectors, rowvar=False), rel=1e-6, abs=1e-6)
    with pytest.raises(ValueError, match="two"):
        _ = moments(vectors[:1]).covariance


def test_frechet_check_value() -> None:
    x, y = check_sets()
    assert frechet(moments(x), moments(y)) == pytest.approx(0.6353341134, rel=1e-8)
    assert frechet(moments(y), moments(x)) == pytest.approx(0.6353341134, rel=1e-8)
    assert 0 <= frechet(moments(x), moments(x)) < 1e-9


def test_frechet_of_diagonal_gaussians() -> None:
    """Σ (μa - μb)² + Σ (σa - σb)², with sets whose moments are exact."""

    def exact(mean: list[float], deviation: list[float]) -> Moments:
        axes = np.diag(deviation) * math.sqrt((2 * len(mean) - 1) / 2)
        return moments(np.array(mean) + np.concatenate([axes, -axes]))

    a, b = exact([0, 1, 2], [1, 2, 3]), exact([3, 1, 0], [2, 2, 0.5])
    assert frechet(a, b) == pytest.approx(9 + 4 + 1 + 6.25, rel=1e-12)


def test_frechet_agrees_with_a_matrix_root() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    generator = np.random.default_rng(1)
    a, b = (generator.normal(size=(40, 6)) @ generator.normal(size=(6, 6)) for _ in range(2))
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T))
    shift = a.mean(0) - b.mean(0)
    expected = shift @ shift + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root.real)
    assert frechet(moments(a), moments(b)) == pytest.approx(expected, rel=1e-9)


def test_frechet_with_fewer_vectors_than_dimensions() -> None:
    vectors = np.random.default_rng(2).normal(size=(5, 60))
    moved = frechet(moments(vectors), moments(vectors + 0.5))
    assert moved == pytest.approx(60 * 0.25, rel=1e-6)
    scaled = frechet(moments(vectors), moments(3 * (vectors - vectors.mean(0)) + vectors.mean(0)))
    assert scaled == pytest.approx(4 * np.trace(np.cov(vectors.T)), rel=1e-6)


# --- kernel distance ----------------------------------------------------------------------------


def test_kernel_check_value_and_definition() -> None:
    x, y = check_sets()
    assert kernel(x, y) == pytest.approx(0.0131851723, rel=1e-8)

    def k(a: Vectors, b: Vectors) -> float:
        return float((2 * a @ b + 1) ** 3)

    x, y = x[:6], y[:4]
    within = [
        sum(k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j)
        / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    across = sum(k(a, b) for a in x for b in y) / (len(x) * len(y))
    assert kernel(x, y, gamma=2) == pytest.approx(sum(within) - 2 * across, rel=1e-12)
    with pytest.raises(ValueError, match="two"):
        kernel(x, y[:1])


def test_kernel_has_no_bias() -> None:
    """Between random halves of one set its mean is zero."""
    generator = np.random.default_rng(3)
    x, _ = check_sets()
    found = []
    for _ in range(200):
        order = generator.permutation(len(x))
        found.append(kernel(x[order[:25]], x[order[25:]]))
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(len(found))
    assert min(found) < 0


def test_kernel_of_many_vectors_uses_fixed_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    a, b = (2 * generator.normal(size=(count, 4)) for count in (300, 200))
    whole = kernel(a, b)
    monkeypatch.setattr(distances, "KERNEL_SUBSET_SIZE", 100)
    found = kernel(a, b)
    assert found == kernel(a, b) != whole
    # A vector drawn twice into a subset would count as a pair and raise the value by about 1.5.
    assert found == pytest.approx(whole, abs=0.3)


# --- between sets of pictures -------------------------------------------------------------------


def smooth(pixels: Pixels, passes: int) -> Pixels:
    values = pixels.astype(np.float64)
    for _ in range(passes):
        for axis in (0, 1):
            values = (np.roll(values, 1, axis) + 2 * values + np.roll(values, -1, axis)) / 4
    return np.rint(values).astype(np.uint8)


@pytest.fixture
def originals(tmp_path: Path, photos: dict[str, Pixels]) -> list[Path]:
    for name, pixels in photos.items():
        Image.fromarray(pixels[:200, :264]).save(tmp_path / f"{name}.png")
    return images_in(tmp_path)


def test_distances_grow_with_the_damage(originals: list[Path]) -> None:
    names = ["fd_random", "kd_random"]
    pictures = [read_rgb(path) for path in originals]
    equal, little, much = (
        distances.distances(originals, (smooth(p, passes) for p in pictures), names, 64)
        for passes in (0, 1, 4)
    )
    assert list(equal) == names
    assert equal["fd_random"] < 1e-4 < little["fd_random"] < much["fd_random"]
    assert little["kd_random"] < much["kd_random"]


def test_distances_are_those_of_the_vectors(originals: list[Path]) -> None:
    pictures = [read_rgb(path) for path in originals]
    features = find_features("random")
    a, b = (
        features(np.concatenate([distances.patches(p, 64) for p in some]))
        for some in (pictures, [smooth(p, 2) for p in pictures])
    )
    found = distances.distances(
        originals, [smooth(p, 2) for p in pictures], ["kd_random", "fd_random"], 64
    )
    assert found["fd_random"] == pytest.approx(1000 * frechet(moments(a), moments(b)), rel=1e-5)
    assert found["kd_random"] == pytest.approx(1000 * kernel(a, b, 1.0), rel=1e-5)


def test_distances_refuse_what_makes_no_sense(originals: list[Path]) -> None:
    pictures = [read_rgb(path) for path in originals]
    with pytest.raises(UsageError, match="'fid_squeeze'"):
        distances.distances(originals, pictures, ["fid_squeeze"], 64)
    with pytest.raises(UsageError, match="must match"):
        distances.distances(originals, pictures[:-1], ["fd_random"], 64)
    with pytest.raises(UsageError, match=originals[0].name):
        distances.distances(originals, pictures, ["fd_random"])


def test_only_inception_may_be_called_fid() -> None:
    for distance in distances.DISTANCES.values():
        standard = distance.features == "inception"
        assert ("FID" in distance.label or "KID" in distance.label) == standard
        assert (distance.name in ("fid", "kid")) == standard
        assert distance.factor == (1 if standard else 1000)


@pytest.mark.slow
def test_check_values_on_kodak(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaussian blur of nine taps and sigma 1, patches of 128x128."""
    monkeypatch.setenv(perceptual.VARIABLE, str(shared_data / "weights"))
    paths = images_in(shared_data / "kodak")
    offset = np.arange(-4, 5)
    taps = np.exp(-(offset**2) / 2)
    taps /= taps.sum()

    def blurred(pixels: Pixels) -> Pixels:
        values = np.pad(pixels.astype(np.float64), ((4, 4), (4, 4), (0, 0)), mode="reflect")
        for axis in (0, 1):
            length = values.shape[axis] - 8
            values = sum(w * values.take(range(k, k + length), axis) for k, w in enumerate(taps))
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    names = ["fd_squeeze", "kd_squeeze"]
    found = distances.distances(paths, (blurred(read_rgb(p)) for p in paths), names, 128)
    assert len(paths) * distances.patch_count(512, 768, 128) == 936
    assert found == pytest.approx({"fd_squeeze": 129.70, "kd_squeeze": 189.43}, rel=1e-3)
