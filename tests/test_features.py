"""Feature vectors of patches: fixed for ever, of the stated length, whole in any batch."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor

from pliant.errors import MissingError, UsageError
from pliant.evaluation import features, perceptual
from pliant.evaluation.pixels import Pixels

FIRST = (0.0, 0.02375151, 0.01244329, 0.07801638)  # as released
INCEPTION = "torch_fidelity.feature_extractor_inceptionv3"


def waves(count: int, size: int) -> Pixels:
    k, y, x, c = np.mgrid[:count, :size, :size, :3].astype(np.float64)
    values = 128 + 100 * np.sin((k + 1) * x / 9 + c) * np.cos(y / (3 + k))
    return np.rint(values).astype(np.uint8)


def test_random_features_never_change() -> None:
    random = features.find_features("random")
    found = random(waves(2, 64))
    assert found.shape == (2, random.dimension)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    assert found[0, :4] == pytest.approx(FIRST, abs=2e-5)


def test_random_kernels_have_the_variance_of_he() -> None:
    kernel = features._random_kernel("seed", (64, 50, 3, 3)).double()
    assert kernel.var().item() == pytest.approx(2 / 450, rel=0.02)
    assert kernel.mean().item() == pytest.approx(0, abs=1e-3)
    assert not torch.equal(kernel, features._random_kernel("other", (64, 50, 3, 3)).double())


def test_random_features_see_texture_and_not_brightness() -> None:
    random = features.find_features("random")
    patch = waves(1, 64) // 2
    original, brighter, coarser = (random(p) for p in (patch, patch + 40, patch // 64 * 64))
    assert brighter == pytest.approx(original, abs=1e-5)
    assert np.linalg.norm(original - coarser) > 0.1


def test_batches_do_not_matter() -> None:
    random = features.find_features("random")
    patches = waves(features._BATCH + 3, 32)
    whole = random(patches)
    assert whole.shape == (len(patches), random.dimension)
    for index in (0, features._BATCH, len(patches) - 1):
        assert whole[index] == pytest.approx(random(patches[index : index + 1])[0], abs=1e-6)
    assert random(patches[:0]).shape == (0, random.dimension)


def test_squeeze_features(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_data / "weights"
    if not folder.is_dir():
        pytest.skip(f"no weights in {folder}")
    monkeypatch.setenv(perceptual.VARIABLE, str(folder))
    squeeze = features.find_features("squeeze")
    found = squeeze(waves(2, 64))
    assert found.shape == (2, squeeze.dimension) == (2, 512)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    assert (found >= 0).all()  # after ReLU


def test_unknown_features_are_named() -> None:
    with pytest.raises(UsageError, match="'vgg'"):
        features.find_features("vgg")


# --- Inception is the user's; only our way of calling it can be tested --------------------------


def fake_torch_fidelity(monkeypatch: pytest.MonkeyPatch, extractor: object) -> None:
    module = ModuleType(INCEPTION)
    module.FeatureExtractorInceptionV3 = extractor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, INCEPTION, module)


def test_inception_gets_bytes_and_gives_2048_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Extractor:
        def __init__(self, name: str, layers: list[str]) -> None:
            assert layers == ["2048"]

        def __call__(self, images: Tensor) -> tuple[Tensor]:
            assert images.dtype == torch.uint8
            assert images.shape[1] == 3
            return (images.float().mean((2, 3))[:, :1].expand(-1, 2048),)

    fake_torch_fidelity(monkeypatch, Extractor)
    inception = features.find_features("inception")
    patches = waves(3, 32)
    found = inception(patches)
    assert found.shape == (3, 2048)
    assert found[:, 7] == pytest.approx(patches[..., 0].mean((1, 2)), rel=1e-5)
    assert inception.gamma == 1 / inception.dimension


def test_missing_inception_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, layers: list[str]) -> None:
        raise URLError("no network")

    fake_torch_fidelity(monkeypatch, offline)
    with pytest.raises(MissingError, match="no network"):
        features.find_features("inception")
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.delitem(sys.modules, INCEPTION)
    with pytest.raises(MissingError, match="pip install torch-fidelity"):
        features.find_features("inception")


def test_missing_weights_are_said_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(perceptual.VARIABLE, raising=False)
    with pytest.raises(MissingError, match="squeeze needs weights: set PLIANT_LPIPS_WEIGHTS"):
        features.find_features("squeeze")
