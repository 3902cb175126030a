"""Weight files: safetensors with integers where the network is exact, checked before use.

A file holds the model's configuration and the hash of a test walk in its metadata, the networks'
tensors under `model.`, and the probability tables under `tables.`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from pliant.entropy.tables import Tables
from pliant.errors import DamagedError, MissingError
from pliant.layers.exact import (
    ONE,
    ExactConv2d,
    ExactHead,
    ExactLayer,
    RateBias,
    RateVector,
    SpreadConv2d,
)
from pliant.layers.integers import EXACT_SUM
from pliant.models.base import ImageModel
from pliant.priors.lowband import LowBandPrior

FORMAT = "pliant-weights-1"
_TEST_SIZE = (128, 192)
_TEST_RATE = 700  # between two anchors


def _integer_parameters(
    model: nn.Module,
) -> Iterator[tuple[str, nn.Parameter, float, bool, torch.dtype]]:
    """(name, parameter, integers per unit, stored as logarithm, dtype) of every exact parameter."""
    for name, module in model.named_modules():
        if isinstance(module, SpreadConv2d):
            yield f"{name}.weight", module.weight, 2.0**module.shift, True, torch.int8
        elif isinstance(module, ExactConv2d):
            yield f"{name}.weight", module.weight, 2.0**module.shift, False, torch.int8
        elif isinstance(module, RateBias):
            yield f"{name}.anchors", module.anchors, ONE * 2.0**module.shift, False, torch.int32
        elif isinstance(module, LowBandPrior):
            yield f"{name}.weight", module.weight, 256.0, True, torch.int8


def to_integers(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model with exact parameters as integers."""
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    for name, parameter, unit, logarithm, dtype in _integer_parameters(model):
        value = parameter.detach().cpu().double()
        value = (value.exp() if logarithm else value) * unit
        limit = 127 if dtype == torch.int8 else 2**22
        state[name] = value.round().clamp(-limit, limit).to(dtype)
    return state


def from_integers(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Loads what `to_integers` gave.

    Raises:
        MissingError: a tensor is missing, superfluous, of another shape or type, or not finite.
    """
    expected = to_integers(model)
    if expected.keys() != state.keys():
        odd = sorted(expected.keys() ^ state.keys())[:3]
        raise MissingError(f"the weight file does not fit its model: {odd}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise MissingError(f"the weight file does not fit its model: {name}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise MissingError(f"the weight file holds a value that is not finite: {name}")
    floats = dict(state)
    for name, _, unit, logarithm, _ in _integer_parameters(model):
        value = state[name].double() / unit
        if logarithm and bool((value < 0).any()):
            raise MissingError(f"the weight file holds a weight that cannot be negative: {name}")
        floats[name] = (value.log() if logarithm else value).float()
    model.load_state_dict(floats)


def check_bounds(model: nn.Module) -> None:
    """Proves from the actual weights that every sum of every exact layer is exact in float32.

    Raises:
        MissingError: naming the layer.
    """
    for name, module in model.named_modules():
        if isinstance(module, ExactLayer | ExactHead | SpreadConv2d):
            worst = module.worst_sum()
            # written so that a NaN is refused as well
            if not worst < EXACT_SUM:
                raise MissingError(f"the weights of {name} could overflow: {worst:.0f}")


@torch.no_grad()
def self_check(model: ImageModel) -> str:
    """Hash of the prior's steps for fixed symbols: equal wherever arithmetic is exact."""
    digest = hashlib.sha256()
    device = next(model.parameters()).device
    state = np.uint32(_TEST_RATE)
    vector = RateVector(torch.tensor([_TEST_RATE], device=device))
    schedule = model.prior.schedule(_TEST_SIZE, vector)
    step = next(schedule)
    while True:
        for values in (step.index, step.mean):
            digest.update(values.cpu().contiguous().numpy().astype("<i4").tobytes())
        count = math.prod(step.index.shape)
        numbers, state = _numbers(count, int(state))
        try:
            step = schedule.send(torch.from_numpy(numbers).to(device).view(step.index.shape))
        except StopIteration:
            break
    return digest.hexdigest()[:16]


def _numbers(count: int, seed: int) -> tuple[Any, np.uint32]:
    """Pseudo-random symbols, mostly small: a hash of the position, the same everywhere."""
    position = np.arange(count, dtype=np.uint64) + np.uint64(seed)
    mixed = (position * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    mixed = (mixed ^ (mixed >> np.uint64(15))) * np.uint64(2246822519) & np.uint64(0xFFFFFFFF)
    octave = (mixed >> np.uint64(8) & np.uint64(1023)).astype(np.float64) // 128
    magnitude = np.trunc(2.0**octave / 8)
    sign = np.where(mixed >> np.uint64(31), 1.0, -1.0)
    return (magnitude * sign).astype(np.float32), np.uint32((seed + count) & 0xFFFFFFFF)


def to_bytes(
    model: ImageModel, name: str, config: dict[str, Any], tables: Tables | None = None
) -> bytes:
    """The weight file of an evaluated model.

    Args:
        tables: instead of the model's own.

    Raises:
        MissingError: the weights could overflow.
    """
    check_bounds(model)
    integers = to_integers(model)
    # The test walk is that of the stored integers: a trained weight may lie so close to a rounding
    # boundary that float32 and float64 disagree about it.
    stored = copy.deepcopy(model).cpu().eval()
    from_integers(stored, integers)
    tensors = {f"model.{k}": v for k, v in integers.items()}
    arrays = (tables or model.tables()).to_arrays()
    tensors |= {f"tables.{k}": torch.from_numpy(v.copy()) for k, v in arrays.items()}
    metadata = {
        "format": FORMAT,
        "name": name,
        "config": json.dumps(config),
        "self_check": self_check(stored) if model.portable else "",
    }
    return _ordered(save_tensors(tensors, metadata))


def _ordered(data: bytes) -> bytes:
    """The same file with its metadata in order: safetensors writes them in a random one."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def save(
    model: ImageModel,
    name: str,
    config: dict[str, Any],
    path: Path,
    tables: Tables | None = None,
) -> str:
    """Writes what `to_bytes` gives; returns its SHA-256."""
    data = to_bytes(model, name, config, tables)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read_metadata(path: Path) -> dict[str, str]:
    """Name, configuration and test hash of a weight file."""
    try:
        with safe_open(path, "numpy") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise MissingError(f"the weights {path.name} cannot be read: {error}") from None


def load(model: ImageModel, data: bytes) -> Tables:
    """Fills `model` from the bytes of a weight file and returns its probability tables.

    Raises:
        MissingError: anything about the file is wrong.
    """
    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise MissingError(f"the weights cannot be read: {error}") from None
    from_integers(model, _below("model.", tensors))
    check_bounds(model)
    try:
        return Tables.from_arrays({k: v.numpy() for k, v in _below("tables.", tensors).items()})
    except (DamagedError, TypeError) as error:
        raise MissingError(f"the weight file has no valid tables: {error}") from None


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
