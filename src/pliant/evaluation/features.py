"""Networks that turn patches into feature vectors, for distances between sets of pictures.

Values of different features cannot be compared with each other. Only distances on the Inception
features may be called FID and KID.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.error import URLError

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pliant.errors import MissingError, UsageError
from pliant.evaluation import perceptual
from pliant.evaluation.pixels import Pixels

Vectors: TypeAlias = npt.NDArray[np.float64]

RANDOM_SEED = "pliant random features 1"
_RANDOM_WIDTHS = (32, 32, 64, 64)
_BATCH = 16


@dataclass(frozen=True)
class Features:
    """One way to describe a patch by a vector.

    Attributes:
        name: as `find_features` takes it.
        description: network, layer and pooling, in words.
        dimension: of the vectors.
        gamma: factor of the scalar product in the polynomial kernel: 1 for vectors of unit length,
            1 / dimension where the standard asks for it.
        extract: uint8 patches (N, size, size, 3) to (N, dimension).
    """

    name: str
    description: str
    dimension: int
    gamma: float
    extract: Callable[[Pixels], Tensor]

    def __call__(self, patches: Pixels) -> Vectors:
        """(N, dimension), of patches (N, size, size, 3) of any number."""
        with torch.inference_mode():
            parts = [
                self.extract(patches[start : start + _BATCH]).double().numpy()
                for start in range(0, len(patches), _BATCH)
            ]
        return np.concatenate([np.empty((0, self.dimension)), *parts])


def find_features(name: str) -> Features:
    """The features called "inception", "squeeze" or "random".

    Raises:
        UsageError: there are no such features.
        MissingError: their package or weights are missing.
    """
    if name not in _MAKERS:
        raise UsageError(f"unknown features {name!r}; known: {', '.join(_MAKERS)}")
    return _MAKERS[name]()


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=1)


def _inception() -> Features:
    """What torch-fidelity computes: resized as in TensorFlow 1, last pooling layer, float32."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise MissingError("FID and KID need torch-fidelity: pip install torch-fidelity") from error
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    except (URLError, OSError) as error:
        raise MissingError(f"torch-fidelity has no Inception weights: {error}") from error

    def extract(patches: Pixels) -> Tensor:
        found: Tensor = network(torch.from_numpy(patches).permute(0, 3, 1, 2))[0]
        return found

    return Features("inception", "Inception-v3, pool3", 2048, 1 / 2048, extract)


def _squeeze() -> Features:
    network = perceptual.backbone("squeeze")

    def extract(patches: Pixels) -> Tensor:
        maps: Tensor = network(perceptual.normalised(list(patches)))
        return _unit(maps.mean((2, 3)))

    description = "SqueezeNet 1.1, features.12 after ReLU, mean over positions, unit length"
    return Features("squeeze", description, 512, 1.0, extract)


def _random() -> Features:
    """Four convolutions of 3x3 and stride 2 with ReLU, never trained, the same on every machine.

    The first kernels have mean zero, so that texture counts and brightness does not.
    """
    weights: list[Tensor] = []
    inputs = 3
    for index, width in enumerate(_RANDOM_WIDTHS):
        kernel = _random_kernel(f"{RANDOM_SEED}/{index}", (width, inputs, 3, 3))
        weights.append(kernel if index else kernel - kernel.mean((1, 2, 3), keepdim=True))
        inputs = width

    def extract(patches: Pixels) -> Tensor:
        x = torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 127.5 - 1
        for kernel in weights:
            x = functional.conv2d(x, kernel, stride=2).relu()
        return _unit(x.mean((2, 3)))

    description = f"random weights (seed {RANDOM_SEED!r}), mean over positions, unit length"
    return Features("random", description, _RANDOM_WIDTHS[-1], 1.0, extract)


def _random_kernel(seed: str, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers of variance 2 / inputs (He) from a hash, which no library version changes."""
    count = int(np.prod(shape))
    words = np.frombuffer(hashlib.shake_256(seed.encode()).digest(2 * count), "<u2")
    uniform = (words + 0.5) / 65536 - 0.5
    scaled = uniform * np.sqrt(12 * 2 / np.prod(shape[1:]))
    return torch.from_numpy(scaled.astype(np.float32).reshape(shape))


_MAKERS: dict[str, Callable[[], Features]] = {
    "inception": _inception,
    "squeeze": _squeeze,
    "random": _random,
}
