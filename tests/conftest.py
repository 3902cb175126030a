"""Fixtures that several test files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported anywhere, and inherited by child processes: more threads than cores, or
# threads that spin beside a busy neighbour, make the suite several times slower.
os.environ.setdefault("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# The tests see no model that the developer has imported.
os.environ["PLIANT_MODELS"] = os.devnull

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

Pixels = npt.NDArray[np.uint8]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The stand-in codec and a working folder in which no temporary file may stay behind."""
    import fake_codec

    monkeypatch.chdir(tmp_path)
    with fake_codec.installed():
        yield
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"]


@pytest.fixture(scope="session")
def photos() -> dict[str, Pixels]:
    """Photos (H, W, 3): scikit-image's own, or synthetic ones of the same sizes without it."""
    sizes = {"astronaut": (512, 512), "chelsea": (300, 451), "coffee": (400, 600)}
    try:
        from skimage import data
    except ImportError:
        return {name: _synthetic(*size, seed) for seed, (name, size) in enumerate(sizes.items())}
    return {name: np.asarray(getattr(data, name)(), np.uint8) for name in sizes}


@pytest.fixture(scope="session")
def photo_folder(photos: dict[str, Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small photo, to train on."""
    path = tmp_path_factory.mktemp("photos")
    Image.fromarray(photos["chelsea"][:90, :120]).save(path / "photo.png")
    return path


@pytest.fixture(scope="session")
def photo(photos: dict[str, Pixels]) -> Pixels:
    """One photo (300, 451, 3); the odd width is on purpose."""
    return photos["chelsea"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with kodak/, valid/ and so on: $PLIANT_DATA, or ../shared/data of the checkout."""
    folder = Path(os.environ.get("PLIANT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no image data in {folder}; set PLIANT_DATA to its folder")
    return folder


def _synthetic(height: int, width: int, seed: int) -> Pixels:
    """Noise with the 1/f amplitude spectrum of photos, coloured, with a few hard edges."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / max(height, width))
    spectrum = np.fft.fft2(rng.normal(size=(3, height, width))) * amplitude
    planes = np.real(np.fft.ifft2(spectrum))
    planes = planes[:1] + 0.3 * planes[1:].mean(0) * np.array([1, 0, -1])[:, None, None]
    pixels = 128 + 45 * planes / planes.std()
    for _ in range(6):
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        pixels[:, top : top + height // 4, left : left + width // 5] += rng.normal(0, 40)
    return np.clip(pixels, 0, 255).round().astype(np.uint8).transpose(1, 2, 0).copy()
