"""How users name codecs: NAME[:MODEL][@item,...], read and written.

An item is a quality (`avif@30,50`) or an option of the codec (`avif@speed=4,tune=psnr`); qualities
replace the default list. Values cannot contain a comma.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pliant.errors import UsageError
from pliant.evaluation.codecs.base import Family, Options


@dataclass(frozen=True)
class Spec:
    """A codec as a user wrote it, not yet checked against the table."""

    name: str
    model: str
    options: Options
    qualities: tuple[float, ...]


def parse(text: str) -> Spec:
    """Reads a specification.

    Raises:
        UsageError: an item is neither a number nor KEY=VALUE, or an option comes twice.
    """
    head, at, tail = text.partition("@")
    name, _, model = head.partition(":")
    options: dict[str, str] = {}
    qualities = []
    for item in tail.split(",") if at else ():
        key, equals, value = item.partition("=")
        if not equals:
            qualities.append(_number(item, text))
        elif key in options:
            raise UsageError(f"codec {text!r} gives {key} twice")
        else:
            options[key] = value
    return Spec(name, model, options, tuple(sorted(set(qualities))))


def _number(item: str, text: str) -> float:
    try:
        return float(item)
    except ValueError:
        raise UsageError(
            f"codec {text!r}: {item!r} is neither a quality nor KEY=VALUE; "
            "write NAME[:MODEL][@item,...]"
        ) from None


def read_options(family: Family, given: Options, presets: Options) -> dict[str, str]:
    """All options of the family: what was given, else the preset's, else the default.

    Raises:
        UsageError: the family has no such option, or the option no such value.
    """
    unknown = sorted(given.keys() - family.options.keys())
    if unknown:
        known = ", ".join(family.options) or "none"
        raise UsageError(f"{family.name} has no option {unknown[0]!r}; its options: {known}")
    values = {}
    for key, option in family.options.items():
        try:
            values[key] = option.read(given.get(key, presets.get(key, option.default)))
        except UsageError as error:
            raise UsageError(f"{family.name}, option {key}: {error}") from None
    return values


def check_qualities(family: Family, search: tuple[float, ...], given: tuple[float, ...]) -> None:
    """Refuses qualities that the codec does not have.

    Raises:
        UsageError: one is outside the range, or between the steps of a codec that has steps.
    """
    for quality in given:
        inside = search[0] <= quality <= search[-1]
        if not inside or not (family.continuous or quality in search):
            known = f"goes from {search[0]:g} to {search[-1]:g}"
            if not family.continuous:
                few = ", ".join(f"{step:g}" for step in search)
                known = f"{known} in whole steps" if len(search) > 8 else f"has {few}"
            raise UsageError(f"{family.name} has no quality {quality:g}: it {known}")


def write(family: Family, model: str, options: Options, presets: Mapping[str, Options]) -> str:
    """The one name of these settings: that of a preset, else the options that are not default."""
    defaults = {key: option.default for key, option in family.options.items()}
    for name, preset in presets.items():
        if not model and options == {**defaults, **preset}:
            return name
    head = f"{family.name}:{model}" if model else family.name
    changed = [f"{key}={value}" for key, value in options.items() if value != defaults[key]]
    return f"{head}@{','.join(changed)}" if changed else head
