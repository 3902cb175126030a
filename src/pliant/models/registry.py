"""Names to models and their weight files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from pliant import imported
from pliant.entropy.tables import Tables
from pliant.errors import MissingError, UsageError
from pliant.layers import int8
from pliant.models import weights
from pliant.models.base import ImageModel
from pliant.models.complexity import macs_per_pixel
from pliant.models.lossless import LosslessModel
from pliant.models.pyramid import PyramidModel
from pliant.models.zoo import SYSTEMS, ZOO


@dataclass(frozen=True)
class Entry:
    """One model: its architecture, configuration and, if it has any, its weights.

    Attributes:
        sha256: of the weight file; the first eight digits are the model id in files.
        qualities: the published ones that have this size, if any has.
        folder: of the weight file; None: the package's.
        lossless: name of the model that does without loss what this one does not; "" for none.
    """

    name: str
    build: Callable[..., ImageModel]
    config: dict[str, Any] = field(default_factory=dict)
    file: str = ""
    sha256: str = ""
    licence: str = "Apache-2.0"
    qualities: str = ""
    folder: Path | None = None
    lossless: str = ""

    @property
    def model_id(self) -> bytes:
        """Four bytes that name the model in files."""
        return bytes.fromhex(self.sha256[:8])

    @property
    def path(self) -> Path:
        """Where the weights lie."""
        return (self.folder or _FOLDER) / self.file


DEFAULT = "pyramid"
LOSSLESS = "pyramid-lossless"
_FOLDER = Path(str(resources.files("pliant.models") / "weights"))


def _entries() -> dict[str, Entry]:
    """Every model, with what the index of the weights folder says about its weights."""
    index = _FOLDER / "index.json"
    known = json.loads(index.read_text()) if index.exists() else {}
    beside = LOSSLESS if LOSSLESS in known else ""
    entries = {
        DEFAULT: Entry(DEFAULT, PyramidModel, lossless=beside, **known.get(DEFAULT, {})),
        LOSSLESS: Entry(LOSSLESS, LosslessModel, **known.get(LOSSLESS, {})),
    }
    for name, size in ZOO.items():
        facts = {"config": size.config, **known.get(name, {})}
        entries[name] = Entry(name, size.build, qualities=size.qualities, **facts)
    return entries


MODELS: dict[str, Entry] = _entries()

Architecture = tuple[Callable[..., ImageModel], dict[str, Any]]
# What an imported model can be: a system of any size, or a model of the package trained anew.
ARCHITECTURES: dict[str, Architecture] = {
    **{name: (build, {}) for name, build in SYSTEMS.items()},
    **{name: (known.build, known.config) for name, known in MODELS.items()},
}


def _all() -> dict[str, Entry]:
    """The models of the package, then those that the user imported."""
    place = imported.folder()
    return MODELS | {
        name: Entry(
            name,
            *configured(record.system, record.config),
            record.file,
            record.sha256,
            licence="that of the checkpoint",
            folder=place,
        )
        for name, record in imported.records(place).items()
        if record.system in ARCHITECTURES and name not in MODELS
    }


def configured(system: str, config: dict[str, Any]) -> Architecture:
    """An architecture with all its arguments: its own and `config`."""
    build, own = ARCHITECTURES[system]
    return build, own | config


@dataclass(frozen=True)
class Loaded:
    """A model with its weights and probability tables."""

    entry: Entry
    model: ImageModel
    tables: Tables


def entry(name: str) -> Entry:
    """The entry of a model; "default" is the one that ships as such.

    Raises:
        UsageError: there is no such model.
    """
    name = DEFAULT if name == "default" else name
    models = _all()
    if name not in models:
        usable = ", ".join(found.name for found in models.values() if found.file)
        raise UsageError(
            f"there is no model {name!r}; those with weights are: {usable or 'none'}"
            " (`pliant models --all` lists the others)"
        )
    return models[name]


def by_id(model_id: bytes) -> Entry:
    """The entry whose weights have this id.

    Raises:
        MissingError: no installed model has it.
    """
    models = _all().values()
    for candidate in models:
        if candidate.sha256 and candidate.model_id == model_id:
            return candidate
    have = ", ".join(f"{e.name} ({e.sha256[:8]})" for e in models if e.sha256)
    raise MissingError(
        f"the file needs the model {model_id.hex()}; installed are: {have or 'none'}"
    )


def build(name: str, **config: Any) -> ImageModel:
    """An untrained model; `config` replaces settings of its entry."""
    chosen = entry(name)
    return chosen.build(**{**chosen.config, **config})


def load(name: str = "default", device: str = "cpu") -> Loaded:
    """A model with its weights, checked, in the fastest arithmetic that is exact here.

    What does not reproduce the stored test walk is not used: int8 kernels give way to float32, a
    device in a reduced-precision mode to the CPU.

    Raises:
        MissingError: the weights are missing or not the ones of the registry, or no arithmetic of
            this machine is exact. UsageError: there is no such model or device.
    """
    chosen = entry(name)
    usable_device(device)
    data = _read(chosen)
    model = chosen.build(**chosen.config)
    tables = weights.load(model, data)
    model.eval().requires_grad_(False)
    if model.portable:
        _make_exact(model, device, weights.read_metadata(chosen.path)["self_check"], chosen.name)
    else:
        model.to(device)
    return Loaded(chosen, model, tables)


def usable_device(name: str) -> torch.device:
    """The device called `name`.

    Raises:
        UsageError: there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch has no such support
        reason = str(error).partition("\n")[0]
        raise UsageError(f"the device {name!r} cannot be used: {reason}") from None
    return device


def _make_exact(model: ImageModel, device: str, expected: str, name: str) -> None:
    # its Winograd and Fourier kernels, taken for large batches without oneDNN, are not exact
    torch.backends.nnpack.set_flags(False)
    ways = [("cpu", torch.uint8)] if int8.available() else []
    ways.append(("cpu", torch.float32))
    if device != "cpu":
        ways.insert(0, (device, torch.float32))
    for place, dtype in ways:
        model.to(place)
        model.dtype = dtype
        try:
            if weights.self_check(model) == expected:
                return
        except (RuntimeError, AttributeError, TypeError):  # a kernel or type that is not here
            continue
    raise MissingError(f"the arithmetic of this machine does not reproduce the model {name}")


def _read(chosen: Entry) -> bytes:
    try:
        data = chosen.path.read_bytes() if chosen.file else None
    except OSError:
        data = None
    if data is None:
        raise MissingError(f"the weights of the model {chosen.name} are not installed")
    found = hashlib.sha256(data).hexdigest()
    if found != chosen.sha256:
        raise MissingError(
            f"the weights of the model {chosen.name} are not the ones it needs: "
            f"{found[:8]} instead of {chosen.sha256[:8]}"
        )
    return data


def describe(untrained: bool = False) -> list[dict[str, Any]]:
    """One record per model: id, name, configuration, size, work, portability, weights.

    Args:
        untrained: those without weights as well; to count them all takes seconds.
    """
    records = []
    for chosen in _all().values():
        if not chosen.file and not untrained:
            continue
        model = chosen.build(**chosen.config)
        encoder, decoder = macs_per_pixel(model)
        records.append(
            {
                "name": chosen.name,
                "id": chosen.sha256[:8] or None,
                "default": chosen.name == DEFAULT,
                "config": chosen.config,
                "published_qualities": chosen.qualities or None,
                "parameters": sum(p.numel() for p in model.parameters()),
                "kmac_per_pixel_encoder": round(encoder / 1000, 3),
                "kmac_per_pixel_decoder": round(decoder / 1000, 3),
                "portable": model.portable,
                "weights": chosen.file or None,
                "sha256": chosen.sha256 or None,
                "licence": chosen.licence,
            }
        )
    return records


def verify() -> list[dict[str, Any]]:
    """Checks the weights of every model: {"name", "ok", "message"}."""
    records = []
    for chosen in _all().values():
        if not chosen.file:
            continue
        try:
            load(chosen.name)
            records.append({"name": chosen.name, "ok": True, "message": "intact"})
        except MissingError as error:
            records.append({"name": chosen.name, "ok": False, "message": str(error)})
    return records


def install(model: ImageModel, name: str, tables: Tables | None = None) -> str:
    """Writes a trained model's weights into the package and its index; returns their SHA-256.

    Args:
        tables: instead of the model's own.
    """
    config = entry(name).config
    path = _FOLDER / f"{name}.safetensors"
    digest = weights.save(model.eval(), name, config, path, tables)
    index = _FOLDER / "index.json"
    known = json.loads(index.read_text()) if index.exists() else {}
    known[name] = {"file": path.name, "sha256": digest, "config": config}
    index.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    return digest
