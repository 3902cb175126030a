"""Weight files: what they hold comes back, and nothing else gets in."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from pliant.codec import Codec
from pliant.errors import MissingError
from pliant.models import registry, weights
from pliant.models.base import ImageModel
from pliant.models.pyramid import PyramidModel

CONFIG: dict[str, Any] = {"widths": (8, 8, 8)}
SHIPPED = Path(registry.__file__).parent / "weights" / "index.json"
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def model() -> ImageModel:
    torch.manual_seed(0)
    model = PyramidModel(**CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


@pytest.fixture(scope="module")
def data(model: ImageModel, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    digest = weights.save(model, "tiny", CONFIG, path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    return path.read_bytes()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts bytes into the registry as the weights of the model "tiny"."""

    def run(content: bytes, sha256: str | None = None) -> None:
        (tmp_path / "tiny.safetensors").write_bytes(content)
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        entry = registry.Entry("tiny", PyramidModel, CONFIG, "tiny.safetensors", sha256)
        monkeypatch.setattr(registry, "_FOLDER", tmp_path)
        monkeypatch.setattr(registry, "MODELS", {"tiny": entry})

    return run


def edited(data: bytes, edit: Callable[[Tensors], object]) -> bytes:
    tensors = load_tensors(data)
    edit(tensors)
    return save_tensors(tensors, {"self_check": "0" * 16})


def test_a_model_survives_storage(
    model: ImageModel, data: bytes, install: Callable[..., None], photo: Any
) -> None:
    install(data)
    loaded = registry.load("tiny")
    assert registry.verify() == [{"name": "tiny", "ok": True, "message": "intact"}]
    assert registry.by_id(loaded.entry.model_id).name == "tiny"
    assert not any(p.requires_grad for p in loaded.model.parameters())
    first, second = weights.to_integers(model), weights.to_integers(loaded.model)
    assert all(torch.equal(first[k], second[k]) for k in first)
    codec = Codec(loaded)
    file = codec.encode(photo[:70, :90], quality=70)
    assert (
        Codec(dataclasses.replace(loaded, model=model)).encode(photo[:70, :90], quality=70) == file
    )


def test_exact_parameters_are_stored_as_integers(data: bytes) -> None:
    dtypes = {k: v.dtype for k, v in load_tensors(data).items()}
    assert dtypes["model.prior.coarse.first.convs.0.weight"] == torch.int8
    assert dtypes["model.prior.coarse.nets.0.spread.weight"] == torch.int8
    assert dtypes["model.prior.coarse.first.bias.anchors"] == torch.int32
    assert dtypes["model.prior.low.weight"] == torch.int8
    floating = {k for k, v in dtypes.items() if v.is_floating_point}
    assert not [k for k in floating if k.startswith("model.prior.")]


def test_self_check_is_stable(model: ImageModel) -> None:
    first = weights.self_check(model)
    assert weights.self_check(model) == first
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert weights.self_check(model) == first
    finally:
        torch.set_num_threads(threads)


def test_self_check_notices_any_weight(model: ImageModel) -> None:
    first = weights.self_check(model)
    stored = weights.to_integers(model)
    for name in ("prior.fine.second.convs.0.weight", "prior.middle.nets.3.head.bias.anchors"):
        changed = {k: v.clone() for k, v in stored.items()}
        changed[name] += torch.where(changed[name] > 0, -1, 1).to(changed[name].dtype) * 4
        other = PyramidModel(**CONFIG).eval()
        weights.from_integers(other, changed)
        assert weights.self_check(other) != first


def test_any_flipped_byte_is_refused(data: bytes, install: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)
    for position in (0, 9, 200, len(data) - 1, *rng.integers(0, len(data), 4)):
        broken = bytearray(data)
        broken[position] ^= 1 << int(rng.integers(8))
        install(bytes(broken), hashlib.sha256(data).hexdigest())
        with pytest.raises(MissingError, match="not the ones it needs"):
            registry.load("tiny")
        assert not registry.verify()[0]["ok"]


def test_a_wrong_hash_is_named(data: bytes, install: Callable[..., None]) -> None:
    install(data, "12345678" * 8)
    with pytest.raises(MissingError, match="12345678"):
        registry.load("tiny")


def test_absent_weights_and_unknown_ids(install: Callable[..., None], tmp_path: Path) -> None:
    install(b"", "12345678" * 8)
    (tmp_path / "tiny.safetensors").unlink()
    with pytest.raises(MissingError, match="not installed"):
        registry.load("tiny")
    with pytest.raises(MissingError, match="installed are: tiny"):
        registry.by_id(b"\0\0\0\0")


FLOAT, INTEGER = "model.transform.colour", "model.prior.fine.first.convs.0.weight"
EDITS: dict[str, Callable[[Tensors], object]] = {
    "missing tensor": lambda t: t.pop(INTEGER),
    "missing float tensor": lambda t: t.pop(FLOAT),
    "superfluous tensor": lambda t: t.update({"model.extra": torch.zeros(1)}),
    "wrong dtype": lambda t: t.update({INTEGER: t[INTEGER].float()}),
    "half precision": lambda t: t.update({FLOAT: t[FLOAT].half()}),
    "wrong shape": lambda t: t.update({INTEGER: t[INTEGER][:, 1:].clone()}),
    "extra dimension": lambda t: t.update({INTEGER: t[INTEGER][..., None].clone()}),
    "NaN": lambda t: t[FLOAT].fill_(float("nan")),
    "infinity": lambda t: t[FLOAT][0, 0].fill_(float("inf")),
    "negative spread": lambda t: t["model.prior.fine.nets.0.spread.weight"].fill_(-3),
    "missing table": lambda t: t.pop("tables.counts"),
    "no tables": lambda t: [t.pop(k) for k in list(t) if k.startswith("tables.")],
    "wrong table": lambda t: t["tables.golomb"].fill_(200),
    "table of floats": lambda t: t.update({"tables.golomb": t["tables.golomb"].bfloat16()}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_wrong_tensors_are_refused(edit: str, data: bytes) -> None:
    with pytest.raises(MissingError):
        weights.load(PyramidModel(**CONFIG), edited(data, EDITS[edit]))


def test_a_failed_self_check_is_refused(data: bytes, install: Callable[..., None]) -> None:
    install(edited(data, lambda t: None))
    with pytest.raises(MissingError, match="arithmetic"):
        registry.load("tiny")


class _Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 4])
def test_a_renamed_pickle_is_never_run(
    protocol: int, install: Callable[..., None], tmp_path: Path
) -> None:
    content = pickle.dumps(_Bomb(tmp_path / "run"), protocol)
    install(content)  # even with its own hash in the registry
    with pytest.raises(MissingError, match="cannot be read"):
        registry.load("tiny")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("length", [0, 7, 8, 100, 5000])
def test_truncated_weights_are_refused(length: int, data: bytes) -> None:
    with pytest.raises(MissingError, match="cannot be read"):
        weights.load(PyramidModel(**CONFIG), data[:length])


def test_weights_that_overflow_are_not_saved(tmp_path: Path) -> None:
    heavy = PyramidModel((256, 256, 256)).eval()
    with torch.no_grad():
        for parameter in heavy.prior.parameters():  # type: ignore[attr-defined]
            parameter.fill_(1.0)
    with pytest.raises(MissingError, match="overflow"):
        weights.save(heavy, "heavy", {}, tmp_path / "heavy.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not SHIPPED.exists(), reason="no weights are installed")
def test_shipped_weights_are_intact() -> None:
    records = registry.verify()
    assert records
    assert all(r["ok"] for r in records), records
