"""CompressAI's codecs: files that hold all they need, checkpoints by name and hash."""

from __future__ import annotations

import hashlib
import re
import struct
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pliant.errors import MissingError, UsageError
from pliant.evaluation import codecs, metrics
from pliant.evaluation.codecs import peers
from pliant.evaluation.metrics import Pixels

installed = pytest.mark.skipif(
    find_spec("compressai") is None or find_spec("torch_geometric") is None,
    reason="CompressAI is not installed",
)
HEADER_BYTES = 10


@pytest.fixture(scope="module")
def crop(photos: dict[str, Pixels]) -> Pixels:
    """Part of a photo, (75, 130, 3): padded on all sides."""
    return np.ascontiguousarray(photos["astronaut"][60:135, 180:310])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small network of mbt2018-mean as the checkpoint of quality 3, named as in the zoo."""
    import torch

    zoo = peers.import_zoo()
    torch.manual_seed(1)
    network = zoo.MeanScaleHyperprior(8, 12)
    network.update()
    plain = tmp_path / "plain"
    torch.save(network.state_dict(), plain)
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()
    plain.rename(tmp_path / f"mbt2018-mean-3-{digest[:8]}.pth.tar")
    return tmp_path


def spec(folder: Path, model: str = "mbt2018-mean") -> str:
    return f"compressai:{model}@weights={folder}"


def padded(pixels: Pixels) -> Any:
    import torch
    from compressai.ops import compute_padding

    x = torch.tensor(pixels).permute(2, 0, 1)[None] / 255
    pad, unpad = compute_padding(*pixels.shape[:2], min_div=64)
    return torch.nn.functional.pad(x, pad), unpad


@installed
def test_files_hold_what_the_network_writes(folder: Path, crop: Pixels) -> None:
    import torch

    codec = codecs.find(spec(folder))
    assert codec.qualities == codec.search == (3,)
    assert not codec.timing_only
    file = codec.encode(crop, 3)

    zoo = peers.import_zoo()
    state = torch.load(next(folder.iterdir()), weights_only=True)
    network = zoo.MeanScaleHyperprior.from_state_dict(state).eval()
    x, unpad = padded(crop)
    with torch.inference_mode():
        packed = network.compress(x)
        y_stream, z_stream = (batch[0] for batch in packed["strings"])
        x_hat = network.decompress(packed["strings"], packed["shape"])["x_hat"]
    assert file[HEADER_BYTES + 4 :] == y_stream + z_stream
    assert file[HEADER_BYTES : HEADER_BYTES + 4] == struct.pack("<I", len(y_stream))

    expected = torch.nn.functional.pad(x_hat, unpad)[0].permute(1, 2, 0) * 255
    decoded = codec.decode(file)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected.round().numpy())


@installed
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 30)])
def test_any_size_comes_back(folder: Path, size: tuple[int, int], photo: Pixels) -> None:
    codec = codecs.find(spec(folder))
    pixels = photo[: size[0], : size[1]]
    assert codec.decode(codec.encode(pixels, 3)).shape == pixels.shape


@installed
def test_version_names_the_weights(folder: Path) -> None:
    before = codecs.find(spec(folder)).version
    assert "compressai 1." in before
    path = next(folder.iterdir())
    path.rename(folder / "mbt2018-mean-4.pth")
    assert codecs.find(spec(folder)).version == before
    (folder / "mbt2018-mean-5.pth.tar").write_bytes(b"another")
    assert codecs.find(spec(folder)).version != before
    assert codecs.find(spec(folder)).qualities == (4, 5)


@installed
def test_weights_must_be_those_of_their_name(folder: Path) -> None:
    path = next(folder.iterdir())
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(MissingError, match="SHA-256"):
        codecs.find(spec(folder))


@installed
def test_pickled_code_is_not_run(tmp_path: Path, crop: Pixels) -> None:
    import pickle

    import torch

    torch.save({"state_dict": {"x": Path("innocent")}}, tmp_path / "mbt2018-mean-1.pth")
    codec = codecs.find(spec(tmp_path))
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        codec.encode(crop, 1)


@installed
def test_random_weights_are_for_timing_only(crop: Pixels) -> None:
    codec = codecs.find("compressai:bmshj2018-hyperprior@weights=random")
    assert codec.timing_only
    assert codec.name == "compressai:bmshj2018-hyperprior@weights=random"
    assert "random weights" in codec.label
    assert "random weights" in codec.version
    assert codec.qualities == (1, 6)  # one per released size
    assert codec.search == tuple(range(1, 9))
    file = codec.encode(crop, 1)
    decoded = codec.decode(file)
    assert decoded.shape == crop.shape
    # Latents have the rate of a trained network: not all zero, and none outside the tables.
    assert 0.5 < 8 * len(file) / (128 * 192) < 3


@installed
def test_the_rate_of_random_weights_can_be_chosen(crop: Pixels) -> None:
    name = "compressai:bmshj2018-hyperprior@weights=random"
    sizes = [
        len(codecs.find(f"{name},deviation={deviation}").encode(crop, 1))
        for deviation in (0.2, 0.5, 1)
    ]
    assert sizes[0] < 0.8 * sizes[1] < 0.8**2 * sizes[2]
    assert codecs.find(f"{name},deviation=1").name == name
    for deviation in ("0", "-1", "inf", "nan", "much"):
        with pytest.raises(UsageError, match="deviation"):
            codecs.find(f"{name},deviation={deviation}")


@installed
def test_sizes_are_those_of_the_zoo() -> None:
    sizes = peers.import_zoo().cfgs
    for architecture, (count, lowest) in peers.ARCHITECTURES.items():
        of_quality = sizes[architecture]
        assert list(of_quality) == list(range(1, count + 1))
        first = [q for q in of_quality if q == 1 or of_quality[q] != of_quality[q - 1]]
        assert first == list(lowest)


@installed
def test_random_weights_are_the_same_in_every_process(crop: Pixels) -> None:
    name = "compressai:bmshj2018-factorized@weights=random"
    file = codecs.find(name).encode(crop[:64, :64], 1)
    decoded = codecs.find(name).decode(file)
    peers.network.cache_clear()
    assert metrics.psnr(codecs.find(name).decode(file), decoded) == float("inf")


@installed
def test_torchvision_is_only_stood_in_for() -> None:
    peers.import_zoo()
    left = sys.modules.get("torchvision")
    assert left is None or left.__file__


@installed
def test_weights_must_be_named() -> None:
    with pytest.raises(UsageError, match="weights=random"):
        codecs.find("compressai:mbt2018")


@installed
def test_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "mbt2018-mean-1-01234567.pth.tar").touch()
    with pytest.raises(MissingError, match="no mse weights of mbt2018 in"):
        codecs.find(spec(tmp_path, "mbt2018"))


def test_checkpoints_are_found_by_the_names_of_the_zoo(tmp_path: Path) -> None:
    names = {
        "bmshj2018-factorized-prior-1-446d5c7f.pth.tar": ("bmshj2018-factorized", "mse", 1),
        "bmshj2018-factorized-ms-ssim-2-4a584386.pth.tar": ("bmshj2018-factorized", "ms-ssim", 2),
        "mbt2018-mean-4-6dba02a3.pth.tar": ("mbt2018-mean", "mse", 4),
        "mbt2018-5-b4a046dd.pth.tar": ("mbt2018", "mse", 5),
        "cheng2020_attn-mse-6-730501f2.pth.tar": ("cheng2020-attn", "mse", 6),
        "cheng2020_anchor-ms-ssim-3-c23e22d5.pth.tar": ("cheng2020-anchor", "ms-ssim", 3),
    }
    for name in names:
        (tmp_path / name).touch()
    for name, (architecture, metric, quality) in names.items():
        path = tmp_path / name
        assert peers.checkpoints(architecture, tmp_path, metric) == {quality: path}
        assert peers.checkpoints(architecture, path, metric) == {quality: path}
        other = "mse" if metric == "ms-ssim" else "ms-ssim"
        if architecture != "bmshj2018-factorized":
            with pytest.raises(MissingError, match=architecture):
                peers.checkpoints(architecture, tmp_path, other)


def test_how_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "compressai", None)
    with pytest.raises(MissingError, match=re.escape(peers.INSTALL)):
        codecs.find("compressai:mbt2018-mean@weights=random")
