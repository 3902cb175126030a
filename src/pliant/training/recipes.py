"""How each model is trained: a recipe is a dataclass, printed into the run folder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pliant.errors import UsageError
from pliant.training.min_norm import NORMALISATIONS
from pliant.units import FINEST_RESTORED, RATE_MAX

_POSITIVE = (
    "steps",
    "batch",
    "learning_rate",
    "matrix_learning_rate",
    "distortion_weight",
    "warmup",
    "clip",
    "save_every",
    "validate_every",
)
_SHARES = ("final_learning_rate", "plain_share", "lossless_share")
_LARGEST, _MOST_THREADS = 2**31 - 1, 1024
PARTS = ("prior", "restoration", "everything")
LEVEL_SCHEMES = ("uniform", "random", "min-norm")
SCHEMES = ("", *LEVEL_SCHEMES, "anchors", "distillation")
SEPARABLE = ("offsets", "hyper_step")
_TRUE, _FALSE = ("1", "true", "yes"), ("0", "false", "no")


@dataclass(frozen=True)
class Recipe:
    """All settings of one training run.

    Attributes:
        model: which one is trained.
        part: of it that is trained: "prior", for rate, or "restoration", for distortion, while the
            rest stays as it is; or "everything", for both.
        distortion_weight: bits per pixel that one unit of mean squared error (of 0..255) is worth
            where both are trained.
        noisy_synthesis: whether the synthesis sees latents with uniform noise even of a model with
            an exact prior, where it would see rounded ones; without a scheme.
        scheme: how a variable-rate model treats its levels: their mean ("uniform"), one in each
            step ("random") or "min-norm", see `vbr.LevelsLoss`; a random anchor for each picture
            ("anchors"), see `anchors.AnchorsLoss`. For models of one rate: "" or "distillation",
            see `distillation.DistillationLoss`.
        normalisation: of the gradients of "min-norm", see `min_norm.scales`.
        levels: how many share a step.
        without: parts of a variable-rate model that stay without effect, with a comma between:
            offsets, hyper_step.
        teacher: checkpoint of the model that "distillation" learns from; "" for none.
        distillation: what a squared step of distance to the teacher's latent costs.
        side_weight: what half of the squared magnitude (of 0..255) of what is not coded costs.
        side_distortion_weight: bits per pixel that one unit of mean squared error is worth which
            the lack of what is not coded makes alone, with the latent not rounded, as a multiple of
            `distortion_weight`. Magnitudes can fall without it: the flow may scale them.
        init: checkpoint whose averaged weights the run starts from, or "installed" for those in the
            package.
        steps: length of the schedule, unless a time budget is given.
        learning_rate, matrix_learning_rate: see `Optimiser`.
        final_learning_rate: share of the learning rates that is left at the end of the cosine.
        warmup: steps over which the learning rates rise.
        plain_share: share of the schedule in which symbols are chosen by error alone, before their
            rate counts as well.
        strength: of rate when symbols are chosen, see `Step.choose`.
        lossless_share: how often a crop of a finer rate than `high_rate` comes from losslessly
            stored photos only.
        clip: largest norm of a tensor's gradient, as a multiple of its own running mean.
        ema: how much of the averaged weights a step keeps, at most.
        bfloat16: run the prior's convolutions in bfloat16.
        threads: of the processor; 0 leaves the choice to torch.
    """

    name: str
    model: str = "pyramid"
    part: str = "prior"
    distortion_weight: float = 0.013
    noisy_synthesis: bool = False
    scheme: str = ""
    normalisation: str = "loss+"
    levels: int = 3
    without: str = ""
    teacher: str = ""
    distillation: float = 0.01
    side_weight: float = 0.1
    side_distortion_weight: float = 0.0
    init: str = ""
    seed: int = 1
    steps: int = 20000
    batch: int = 4
    crop: int = 256
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 6e-3
    final_learning_rate: float = 0.01
    warmup: int = 100
    plain_share: float = 0.1
    strength: float = 1.0
    lossless_share: float = 0.5
    high_rate: int = 768
    lowest_rate: int = 0
    highest_rate: int = RATE_MAX
    clip: float = 2.0
    ema: float = 0.999
    bfloat16: bool = True
    threads: int = 0
    save_every: int = 500
    validate_every: int = 2000


# All of a model, rate and distortion, in float32.
_WHOLE = Recipe(
    "", part="everything", batch=8, crop=192, lossless_share=0.0, bfloat16=False, learning_rate=1e-3
)
# One of the small classic models, for the single rate of `distortion_weight`.
_AUTOENCODER = replace(_WHOLE, matrix_learning_rate=3e-4)
_FLOW = replace(_WHOLE, batch=4, crop=128)


def _named(*recipes: Recipe) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in recipes}


RECIPES: dict[str, Recipe] = _named(
    Recipe("pyramid"),
    Recipe(
        "restoration",
        part="restoration",
        init="installed",
        learning_rate=2e-3,
        matrix_learning_rate=4e-3,
        plain_share=0.0,
        lowest_rate=FINEST_RESTORED,
    ),
    Recipe("lossless", model="pyramid-lossless", lowest_rate=0, highest_rate=0, lossless_share=1.0),
    *(
        replace(_AUTOENCODER, name=name, model=f"{name}-small")
        for name in ("factorized", "scale-hyperprior", "mean-scale-hyperprior", "ilc-teacher")
    ),
    replace(
        _WHOLE,
        name="vbr",
        model="mean-scale-hyperprior-small-vbr",
        scheme="min-norm",
        distortion_weight=0.0483,
        steps=5000,
        learning_rate=5e-4,
        matrix_learning_rate=2e-4,
    ),
    replace(
        _FLOW,
        name="msinn",
        model="msinn-small",
        scheme="anchors",
        learning_rate=3e-3,
        matrix_learning_rate=2e-3,
    ),
    replace(
        _FLOW,
        name="ilc",
        model="ilc-small",
        scheme="distillation",
        learning_rate=2e-3,
        matrix_learning_rate=1e-3,
    ),
)


def get(name: str, overrides: Mapping[str, str] | None = None) -> Recipe:
    """The recipe `name` with `overrides` (strings, converted to the type of each setting).

    Raises:
        UsageError: unknown recipe or setting, or a value that does not convert or make sense.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}; there are: {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    known = {f.name for f in dataclasses.fields(Recipe)}
    for key, text in (overrides or {}).items():
        if key not in known:
            raise UsageError(f"recipe {name} has no setting {key!r}")
        kind = type(getattr(recipe, key))
        try:
            value: Any = _flag(text) if kind is bool else kind(text)
        except ValueError:
            raise UsageError(f"{key} needs a value of type {kind.__name__}, not {text!r}") from None
        recipe = replace(recipe, **{key: value})
    check(recipe)
    return recipe


def check(recipe: Recipe) -> None:
    """Refuses settings that cannot work.

    Raises:
        UsageError: naming the setting.
    """
    r = recipe
    for key, value in dataclasses.asdict(r).items():
        if key in _POSITIVE and not value > 0:
            raise UsageError(f"{key} must be positive")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{key} must be finite")
        if isinstance(value, int) and not 0 <= value <= _LARGEST:
            raise UsageError(f"{key} must be from 0 to {_LARGEST}")
    for key in _SHARES:
        if not 0 <= getattr(r, key) <= 1:
            raise UsageError(f"{key} must be from 0 to 1")
    if r.threads > _MOST_THREADS:
        raise UsageError(f"threads must be at most {_MOST_THREADS}")
    if r.part not in PARTS:
        raise UsageError(f"part must be one of: {', '.join(PARTS)}")
    if r.scheme not in SCHEMES:
        raise UsageError(f"scheme must be one of: {', '.join(filter(None, SCHEMES))}")
    if r.scheme and r.part != "everything":
        raise UsageError("a scheme trains everything: part must be everything")
    if r.noisy_synthesis and (r.scheme or r.part != "everything"):
        raise UsageError("noisy_synthesis is for training everything without a scheme")
    if r.normalisation not in NORMALISATIONS:
        raise UsageError(f"normalisation must be one of: {', '.join(NORMALISATIONS)}")
    if not 2 <= r.levels <= 8:
        raise UsageError("levels must be from 2 to 8")
    if not set(names(r.without)) <= set(SEPARABLE):
        raise UsageError(f"without must name some of: {', '.join(SEPARABLE)}")
    for key in ("distillation", "side_weight", "side_distortion_weight"):
        if getattr(r, key) < 0:
            raise UsageError(f"{key} must not be negative")
    if r.crop < 64 or r.crop % 64:
        raise UsageError("crop must be a multiple of 64")
    if not 0 <= r.lowest_rate <= r.highest_rate <= RATE_MAX:
        raise UsageError(f"rates must rise from lowest_rate to highest_rate within 0..{RATE_MAX}")
    if not 0 <= r.ema < 1:
        raise UsageError("ema must be at least 0 and below 1")


def names(text: str) -> list[str]:
    """What a setting lists with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _flag(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError(text)
    return text.lower() in _TRUE
