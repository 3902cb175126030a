"""How each model is trained: a recipe is a dataclass, printed into the run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pliant.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """All settings of one training run.

    Attributes:
        stage: which part is trained: "prior" (rate only, transform fixed), "restore" (restoration network only,
            everything else fixed).
        steps: length of the schedule, unless a time budget is given.
        plain_share: share of the schedule with plain rounding, before rate-distortion-optimised rounding starts.
        strength: of rate-distortion-optimised rounding.
        lossless_share: how often a high-rate crop comes from losslessly stored photos only.
    """

    name: str
    stage: str
    model: str = "pyramid"
    init: str = ""
    seed: int = 1
    steps: int = 20000
    batch: int = 4
    crop: int = 256
    learning_rate: float = 3e-3
    final_learning_rate: float = 0.01
    warmup: int = 100
    plain_share: float = 0.1
    strength: float = 1.0
    lossless_share: float = 0.5
    high_rate: int = 768
    lowest_rate: int = 0
    highest_rate: int = 2047
    clip: float = 0.5
    ema: float = 0.999
    bfloat16: bool = True
    threads: int = 0
    save_every: int = 500
    validate_every: int = 2000


RECIPES: dict[str, Recipe] = {
    "pyramid": Recipe(name="pyramid", stage="prior"),
    "pyramid-restore": Recipe(
        name="pyramid-restore", stage="restore", learning_rate=1e-3, plain_share=0.0, lowest_rate=512, bfloat16=False
    ),
}


def get(name: str, overrides: Mapping[str, str] | None = None) -> Recipe:
    """The recipe `name` with `overrides` (strings, converted to the type of each setting).

    Raises:
        UsageError: unknown recipe or setting, or a value that does not convert.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}; there are: {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    for key, text in (overrides or {}).items():
        if key not in {f.name for f in dataclasses.fields(Recipe)}:
            raise UsageError(f"recipe {name} has no setting {key!r}")
        kind = type(getattr(recipe, key))
        try:
            value: Any = text.lower() in ("1", "true", "yes") if kind is bool else kind(text)
        except ValueError:
            raise UsageError(f"{key} needs a value of type {kind.__name__}, not {text!r}") from None
        recipe = dataclasses.replace(recipe, **{key: value})
    return recipe
