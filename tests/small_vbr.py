"""Variable-rate models in a size for tests, on the weights of small single-rate ones."""

from __future__ import annotations

from typing import Any

import torch
from small_zoo import config_of
from small_zoo import make as make_base

from pliant.models import variable_rate
from pliant.models.registry import Entry, Loaded
from pliant.models.variable_rate import VariableRateModel

SYSTEMS = {
    "scale": ("scale-hyperprior", "scale hyperprior"),
    "mean-scale": ("mean-scale-hyperprior", "mean-scale hyperprior"),
    "joint": ("joint", "joint autoregressive"),
    "exact scale": ("scale-hyperprior", "exact scale hyperprior"),
    "exact mean-scale": ("mean-scale-hyperprior", "exact mean-scale hyperprior"),
}
NAMES = list(SYSTEMS)
METHODS = [method for method in variable_rate.METHODS if method != "vbr"]
COMPETITORS = [f"exact mean-scale {method}" for method in METHODS]
COMPETITORS += ["mean-scale cui", "exact scale song"]
for name in COMPETITORS:
    SYSTEMS[name] = SYSTEMS[name.rpartition(" ")[0]]
EVERY = NAMES + COMPETITORS
# with random weights a quality map says nothing about the rate
ORDERED = [name for name in EVERY if not name.endswith("song")]
PUBLISHED = [name for name in EVERY if not name.startswith("exact ")]


def config(name: str) -> dict[str, Any]:
    """The arguments of a model."""
    system, base = SYSTEMS[name]
    method = name.rpartition(" ")[2] if name in COMPETITORS else "vbr"
    return {"system": system, "method": method, **config_of(base)}


@torch.no_grad()
def make(name: str, seed: int = 0, trained: bool = True) -> VariableRateModel:
    """A model whose added parts do something, if it is to be `trained`."""
    base = make_base(SYSTEMS[name][1], seed)
    model = VariableRateModel(**config(name)).eval()
    model.load_state_dict(model.adopted(base.state_dict()))
    if trained:
        torch.manual_seed(seed + 1)
        for parameter in model.added():
            spread = 0.03 if parameter.dim() == 4 else 0.05
            parameter.add_(torch.randn_like(parameter) * spread)
    model.settle()
    return model


def loaded(name: str, seed: int = 0) -> Loaded:
    """Such a model as if it came from the registry."""
    model = make(name, seed).requires_grad_(False)
    entry = Entry(name, VariableRateModel, config(name), sha256=f"{seed + 1:02x}" * 32)
    return Loaded(entry, model, model.tables())
