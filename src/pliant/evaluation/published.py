"""Published rate-distortion curves, with source and caveat, to set measurements beside.

The data file says which VTM curve to take and why, and what is missing. It is made by
`benchmarks/published.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pliant.errors import UsageError
from pliant.evaluation.curves import Curve, Metric
from pliant.evaluation.table import Row

_DATA = Path(__file__).with_name("published.json")
# What a plot shows beside the measured codecs: the standards, and one model for every rate.
SHOWN = (
    "VTM-18.0",
    "BPG-0.9.8-444-x265",
    "kamisli2024-mbt2018-mean-vbr",
    "QARV-base",
    "MSINN-12",
    "HPCM-Large",
)
_KODAK_IMAGES, _KODAK_SIDES = 24, [512, 768]


@dataclass(frozen=True)
class PublishedCurve:
    """One published curve in one metric on one test set, by rising bpp.

    Attributes:
        name: of the curve in the data file; label: for plots.
        value: of the metric: PSNR over RGB in dB, MS-SSIM on the 0..1 scale.
        source: paper, and where the figures come from; year: of the method.
        protocol: how many models, and what was averaged.
        caveat: what to know before comparing; may be empty.
        kind: classical, learned-fixed, variable-rate, iterative or overfitted.
    """

    name: str
    label: str
    bpp: tuple[float, ...]
    value: tuple[float, ...]
    metric: Metric
    test_set: str
    source: str
    caveat: str
    protocol: str
    kind: str
    year: int

    @property
    def curve(self) -> Curve:
        """As the deltas of `curves` take it."""
        return Curve(self.bpp, {self.metric: self.value})


def curves(test_set: str = "kodak", metric: Metric = "psnr") -> list[PublishedCurve]:
    """All published curves of a test set in a metric; none where the set is not known."""
    return [
        PublishedCurve(
            name=entry["name"],
            label=entry["label"],
            bpp=tuple(entry["bpp"]),
            value=tuple(entry["metrics"][metric]),
            metric=metric,
            test_set=test_set,
            source=entry["source"],
            caveat=entry["caveat"],
            protocol=entry["protocol"],
            kind=entry["kind"],
            year=entry["year"],
        )
        for entry in _load()["curves"]
        if entry["test_set"] == test_set and metric in entry["metrics"]
    ]


def find(name: str, test_set: str = "kodak", metric: Metric = "psnr") -> PublishedCurve:
    """The curve called `name`.

    Raises:
        UsageError: the test set has no such curve in this metric.
    """
    for curve in curves(test_set, metric):
        if curve.name == name:
            return curve
    raise UsageError(f"no published curve {name!r} of {test_set} in {metric}")


def test_sets() -> Mapping[str, str]:
    """The known test sets and what they are."""
    found: dict[str, str] = _load()["test_sets"]
    return found


def notes() -> list[str]:
    """What to know before comparing with any of the curves."""
    found: list[str] = _load()["notes"]
    return found


def missing() -> list[str]:
    """Curves that one would look for and that the data file does not have."""
    found: list[str] = _load()["missing"]
    return found


def test_set_of(rows: Iterable[Row]) -> str | None:
    """The published test set that the images of these rows are, told by names and sizes.

    Only the whole set counts, because means over a part of it say nothing about published means.
    """
    sides = {row.image: sorted((row.width, row.height)) for row in rows}
    numbers = sorted("".join(filter(str.isdigit, Path(name).stem)) for name in sides)
    expected = [f"{number:02}" for number in range(1, _KODAK_IMAGES + 1)]
    whole = numbers == expected and all(own == _KODAK_SIDES for own in sides.values())
    return "kodak" if whole else None


@cache
def _load() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_DATA.read_text(encoding="utf-8"))
    return loaded
