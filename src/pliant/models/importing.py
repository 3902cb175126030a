"""Checkpoints of CompressAI's zoo as models of ours: the same networks under other names.

Only tensors are read from a checkpoint, and no code in it is run. What a network has is recognised
from names and shapes; names of older releases and of parallel training are known.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pliant.entropy.families import SMALLEST_SCALE
from pliant.errors import DamagedError, LimitError, UsageError
from pliant.files import check_folder, check_target, make_folder, output_file
from pliant.imported import Record, records
from pliant.models import registry, weights
from pliant.models.base import ImageModel
from pliant.models.zoo import SYSTEMS, ZOO

MAX_BYTES = 2**30  # of a checkpoint; the largest published one has 120 million
MAX_CHANNELS = 512  # the largest published model has 320
MAX_TENSORS, MAX_KEY = 10_000, 200  # the largest published model has 800 tensors
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

State = dict[str, Tensor]

_OLD_NAMES = (
    (r"^(module\.)+", ""),
    (r"\.downsample\.", ".skip."),
    (r"^entropy_bottleneck\.(?:_matrices\.|_matrix)", "entropy_bottleneck.matrices."),
    (r"^entropy_bottleneck\.(?:_biases\.|_bias)", "entropy_bottleneck.biases."),
    (r"^entropy_bottleneck\.(?:_factors\.|_factor)", "entropy_bottleneck.factors."),
)
_OUR_NAMES = (
    (r"^entropy_bottleneck\.", "prior.density."),
    (r"^context_prediction\.", "prior.context."),
    (r"^entropy_parameters\.0\.", "prior.first."),
    (r"^entropy_parameters\.2\.", "prior.second."),
    (r"^entropy_parameters\.4\.", "prior.third."),
    (r"^h_s\.", "prior.synthesis."),
    (r"^h_a\.", "transform.hyper."),
    (r"^g_a\.", "transform.encoder."),
    (r"^g_s\.([79])\.0\.", r"transform.decoder.\1."),  # the last layer of Cheng et al.
    (r"^g_s\.", "transform.decoder."),
    (r"\.conv_a\.(\d)\.conv\.", r".features.\1.0.path."),
    (r"\.conv_b\.(\d)\.conv\.", r".mask.\1.0.path."),
    (r"\.conv_b\.", ".mask."),
    (r"\.(?:conv1|subpel_conv)\.", ".path.0."),
    (r"\.conv2?\.", ".path.2."),
    (r"\.i?gdn\.", ".path.3."),
    (r"\.(?:skip|upsample)\.", ".shortcut."),
)
# What follows from the parameters, and constants.
_DERIVED = re.compile(
    r"(entropy_bottleneck|gaussian_conditional)\."
    r"(_offset|_quantized_cdf|_cdf_length|target|scale_table|scale_bound|\w+\.bound)"
    r"|context_prediction\.mask|.*\.(beta|gamma)_reparam\.(pedestal|lower_bound\.bound)"
)
# Constants that a checkpoint states and our models have built in, by the ends of their names.
_CONSTANTS = {
    "_reparam.pedestal": 2.0**-36,
    ".beta_reparam.lower_bound.bound": 1e-3,
    ".gamma_reparam.lower_bound.bound": 2.0**-18,
    ".scale_bound": SMALLEST_SCALE,
    ".lower_bound_scale.bound": SMALLEST_SCALE,
}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Found(NamedTuple):
    """The model in a checkpoint.

    Attributes:
        system: a key of `registry.ARCHITECTURES`.
        config: arguments of that, besides those that the architecture has.
    """

    system: str
    config: dict[str, Any]
    model: ImageModel

    @property
    def architecture(self) -> str:
        """The published name and size, if it has one, else the system and its arguments."""
        for name, size in ZOO.items():
            if (size.build, size.config) == registry.configured(self.system, self.config):
                return name
        return " ".join([self.system, *(f"{key} {value}" for key, value in self.config.items())])


def read(path: Path) -> Found:
    """The model in a checkpoint: a state, or an object that holds one as "state_dict".

    Raises:
        DamagedError: the file cannot be read, holds anything but tensors and plain values, or its
            model is none of those that are known.
        LimitError: the file or the model is too large.
    """
    state = _renamed(_read_state(path), _OLD_NAMES, path)
    _check_constants(state, path)
    system, config = _recognise(state, path)
    state = {key: value for key, value in state.items() if not _DERIVED.fullmatch(key)}
    state = _renamed(state, _OUR_NAMES, path)
    if system == "scale-hyperprior":
        state = {_after_magnitude(key): value for key, value in state.items()}
    model = SYSTEMS[system](**config).eval()
    _fill(model, state, path)
    return Found(system, config, model)


def install(found: Found, name: str, folder: Path, force: bool = False) -> Record:
    """Writes a model's weights, with tables made now, and its record into a folder of models.

    The weight file follows from the checkpoint alone: its id is the same under every name.

    Args:
        force: an imported model of this name may be replaced.

    Raises:
        UsageError: as `check_name`. PliantError: the file system refuses.
    """
    check_name(name, folder, force)
    _, config = registry.configured(found.system, found.config)
    data = weights.to_bytes(found.model, found.system, config)
    digest = hashlib.sha256(data).hexdigest()
    record = Record(found.system, found.config, f"{name}-{digest[:8]}.safetensors", digest)
    replaced = records(folder).get(name)
    superseded = None if replaced is None or replaced.file == record.file else replaced.file
    make_folder(folder)
    with output_file(folder / record.file, force=True) as stream:
        stream.write(data)
    # The record comes last: a model is complete or not there at all.
    try:
        with output_file(folder / f"{name}.json", force=force) as stream:
            stream.write(json.dumps(record._asdict(), indent=1).encode() + b"\n")
    except BaseException:
        if replaced is None or superseded:
            (folder / record.file).unlink(missing_ok=True)
        raise
    if superseded:
        (folder / superseded).unlink(missing_ok=True)
    return record


def check_name(name: str, folder: Path, force: bool = False) -> None:
    """Refuses names that `install` would refuse; meant to be called before long work.

    Raises:
        UsageError: the name is not allowed or taken, or the folder cannot be written to.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a model: up to 64 letters, digits, dots, dashes and underscores"
        )
    if name == "default" or name in registry.MODELS:
        raise UsageError(f"{name!r} is a model of Pliant itself; choose another name")
    check_folder(folder)
    if folder.exists():
        check_target(folder / f"{name}.json", force=force)


def _read_state(path: Path) -> State:
    try:
        size = path.stat().st_size
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(part.file_size for part in archive.infolist()))
        if size > MAX_BYTES:
            raise LimitError(f"{path} has {size} bytes; a checkpoint may have {MAX_BYTES}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except LimitError:
        raise
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnpicklingError:
        raise DamagedError(
            f"{path} is damaged or holds more than tensors and plain values, which is not read"
            " because it could run code"
        ) from None
    except Exception:  # torch raises many kinds for a damaged file
        raise DamagedError(f"{path} is damaged or no checkpoint") from None
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if (
        not isinstance(state, Mapping)
        or len(state) > MAX_TENSORS
        or not all(map(_is_plain, state.items()))
    ):
        raise DamagedError(
            f"{path} holds no state of a network; if it is of pliant train, --model says of which"
        )
    return dict(state)


def _is_plain(item: tuple[Any, Any]) -> bool:
    """Whether this is a name that can be printed and a tensor of ordinary numbers in memory."""
    key, value = item
    return (
        isinstance(key, str)
        and len(key) <= MAX_KEY
        and key.isprintable()
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_nested or value.is_complex())
    )


def _renamed(state: State, rules: tuple[tuple[str, str], ...], path: Path) -> State:
    result: State = {}
    for key, value in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        if key in result:
            raise DamagedError(f"{path} holds {key} twice")
        result[key] = value
    return result


def _after_magnitude(key: str) -> str:
    """Our hyper analysis of 2018 has |y| as its first layer, so the others' numbers are higher."""
    return re.sub(r"^transform\.hyper\.(\d+)\.", lambda m: f"transform.hyper.{int(m[1]) + 1}.", key)


def _check_constants(state: State, path: Path) -> None:
    for key, value in state.items():
        for ending, expected in _CONSTANTS.items():
            if key.endswith(ending) and (
                value.numel() != 1 or not math.isclose(float(value), expected, rel_tol=1e-3)
            ):
                raise DamagedError(f"{path} has another {key} than the published models")


def _recognise(state: State, path: Path) -> tuple[str, dict[str, Any]]:
    """System and arguments of a network, from what it has and how wide that is."""

    def outputs(key: str) -> int:
        return len(state[key]) if key in state and state[key].ndim else 0

    width, channels = outputs("g_a.0.weight"), outputs("g_a.6.weight")
    config: dict[str, Any] = {"width": width, "channels": channels}
    if outputs("g_a.0.conv1.weight"):
        system, width = "cheng2020", outputs("g_a.0.conv1.weight")
        config = {"width": width}
        if any(".conv_a." in key for key in state):
            config["attention"] = True
    elif not width or not channels:
        raise DamagedError(f"{path} holds no model of a known architecture")
    elif "context_prediction.weight" in state:
        system = "joint-autoregressive"
    elif "h_s.4.weight" in state:
        means = outputs("h_s.4.weight") == 2 * channels
        system = "mean-scale-hyperprior" if means else "scale-hyperprior"
    else:
        system = "factorized"
        if "g_a.1.beta" not in state:
            config["rectified"] = True
    if max(width, channels) > MAX_CHANNELS:
        raise LimitError(f"{path} has {max(width, channels)} channels; the limit is {MAX_CHANNELS}")
    return system, config


def _fill(model: ImageModel, state: State, path: Path) -> None:
    """Loads a state that must have exactly the names and shapes of the model, and finite values."""
    own = model.state_dict()
    odd = own.keys() ^ state.keys()
    odd |= {key for key in own.keys() & state.keys() if own[key].shape != state[key].shape}
    if odd:
        names = ", ".join(sorted(odd)[:3])
        raise DamagedError(f"{path} holds no model of a known architecture: {names}")
    for key, value in state.items():
        if value.dtype not in _FLOATS or not bool(value.float().isfinite().all()):
            raise DamagedError(f"{path} holds a value that is not a finite number: {key}")
    if bool((state["prior.density.quantiles"].diff(dim=2) < 0).any()):
        raise DamagedError(f"{path} holds quantiles that are not in order")
    model.load_state_dict(state)
