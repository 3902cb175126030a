"""Checkpoints and snapshots of training runs: read, checked, put into models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pliant.errors import UsageError

RESTORATION = "transform.restore."

State = dict[str, Any]


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


def load_weights(
    model: nn.Module, state: Mapping[str, Tensor], optional: Sequence[str] = (RESTORATION,)
) -> None:
    """Loads `state`; parts named by a prefix in `optional` stay untrained where they do not fit.

    Raises:
        UsageError: anything else does not fit.
    """
    own = model.state_dict()
    odd = {k for k in own.keys() | state.keys() if k not in own or k not in state}
    odd |= {k for k in own.keys() & state.keys() if own[k].shape != state[k].shape}
    left_out = tuple(p for p in optional if any(k.startswith(p) for k in odd))
    wrong = sorted(k for k in odd if not k.startswith(left_out)) if left_out else sorted(odd)
    if wrong:
        raise UsageError(f"the checkpoint does not fit the model: {', '.join(wrong[:3])}")
    fitting = {k: v for k, v in state.items() if not (left_out and k.startswith(left_out))}
    model.load_state_dict(fitting, strict=False)


def load_average(model: nn.Module, checkpoint: Path) -> None:
    """Loads the averaged weights of a training checkpoint or snapshot into `model`."""
    load_weights(model, read_checkpoint(checkpoint)["average"])


def load_part(model: nn.Module, state: Mapping[str, Tensor], prefix: str) -> None:
    """Loads only the tensors whose names start with `prefix`.

    Raises:
        UsageError: they are not exactly those of the model.
    """
    own = {k: v for k, v in model.state_dict().items() if k.startswith(prefix)}
    new = {k: v for k, v in state.items() if k.startswith(prefix)}
    if own.keys() != new.keys() or any(own[k].shape != new[k].shape for k in own):
        raise UsageError(f"the checkpoint has no fitting {prefix.rstrip('.')}")
    model.load_state_dict(new, strict=False)
