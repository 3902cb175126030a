"""Checkpoints and snapshots of training runs: read, checked, put into models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pliant.errors import UsageError

State = dict[str, Any]
RECIPE = "recipe.json"  # in the folder of a run


def read_checkpoint(path: Path) -> State:
    """The content of a checkpoint or snapshot, on the CPU.

    Raises:
        UsageError: it does not exist or cannot be read.
    """
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"there is no checkpoint {path}") from None
    except Exception:  # torch raises many kinds for a damaged or foreign file
        raise UsageError(f"{path} is not a checkpoint") from None
    return state


def recipe_beside(checkpoint: Path) -> dict[str, Any]:
    """The recipe of the run that a checkpoint lies in; empty where none of ours is beside it."""
    try:
        recipe: Any = json.loads((checkpoint.parent / RECIPE).read_text())
    except (OSError, ValueError):
        return {}
    return recipe if isinstance(recipe, dict) and "model" in recipe else {}


def load_weights(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads `state` into `model`.

    Raises:
        UsageError: names or shapes differ.
    """
    own = model.state_dict()
    wrong = {k for k in own.keys() | state.keys() if k not in own or k not in state}
    wrong |= {k for k in own.keys() & state.keys() if own[k].shape != state[k].shape}
    if wrong:
        raise UsageError(f"the checkpoint does not fit the model: {', '.join(sorted(wrong)[:3])}")
    model.load_state_dict(state)


def load_average(model: nn.Module, checkpoint: Path) -> None:
    """Loads the averaged weights of a training checkpoint or snapshot into `model`."""
    load_weights(model, read_checkpoint(checkpoint)["average"])
