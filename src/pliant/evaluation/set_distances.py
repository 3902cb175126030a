"""The set-level distances of a run: every codec at every quality against the originals.

They come from the kept files and stay in the run's folder: a finished one is not computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image

from pliant import runtime
from pliant.errors import PliantError, UsageError
from pliant.evaluation import journal, kept
from pliant.evaluation.curves import Curve
from pliant.evaluation.distances import DISTANCES, PATCH, distances, patch_count
from pliant.evaluation.lock import locked
from pliant.evaluation.table import Row
from pliant.image import decoding

if TYPE_CHECKING:
    from pliant.evaluation.features import Features

JOURNAL, CSV = "distances.jsonl", "distances.csv"

_Key: TypeAlias = tuple[str, str, float, str, str]


@dataclass(frozen=True)
class SetDistance:
    """One distance between the originals and what a codec at one quality made of them.

    Attributes:
        digest: of the set of originals.
        name: key of `distances.DISTANCES`; features: what they are, in words.
        bpp: bits of the files per pixel, mean over the images.
        patches: in either set.
    """

    codec: str
    version: str
    quality: float
    digest: str
    name: str
    features: str
    bpp: float
    images: int
    patches: int
    value: float

    @property
    def key(self) -> _Key:
        """What identifies it: finding it in the journal saves computing it."""
        return self.codec, self.version, self.quality, self.digest, self.name


def check(names: Sequence[str], paths: Sequence[Path]) -> None:
    """Whether these distances can be computed between these images, before hours go into files.

    Raises:
        UsageError: an unknown name, an image without a patch, or fewer than two patches in all.
        MissingError: a package or weights are missing.
    """
    for name in names:
        if name not in DISTANCES:
            raise UsageError(f"unknown distance {name!r}; known: {', '.join(DISTANCES)}")
    for features in {DISTANCES[name].features for name in names}:
        _features(features)
    sizes = {path.name: size for path in paths if (size := _size(path))}
    side = f"{PATCH}x{PATCH}"
    for image, (width, height) in sizes.items():
        if min(width, height) < PATCH:
            what = f"no patch of {side} fits into {image} of {width}x{height} pixels"
            raise UsageError(f"distances need larger images: {what}")
    found = sum(patch_count(height, width) for width, height in sizes.values())
    if found < 2:
        raise UsageError(f"distances need at least two patches of {side}; the images have {found}")


def _size(path: Path) -> tuple[int, int] | None:
    """None for what cannot be opened, which is told where it is measured."""
    with contextlib.suppress(PliantError, OSError), decoding(), Image.open(path) as image:
        return image.size
    return None


def compute(
    rows: Sequence[Row],
    paths: Sequence[Path],
    folder: Path,
    names: Sequence[str],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    failed: Callable[[PliantError], None],
) -> list[SetDistance]:
    """The distances of every codec and quality that has all images, in the order of the rows.

    Pictures are decoded one at a time. The results go to `distances.csv` too.

    Args:
        rows: of the run; those that were only timed are left out.
        paths: the originals, found by their file names.
        folder: of the run, with the kept files and what was computed before.
        names: keys of `distances.DISTANCES`.
        progress: receives how many of how many missing codecs and qualities are done.
        failed: receives what is wrong with one of them, and the others go on.

    Raises:
        UsageError: another run is at work in the folder.
    """
    originals = {path.name: path for path in paths}
    groups = _whole(rows)
    with locked(folder):
        known = {entry.key: entry for entry in journal.load(folder / JOURNAL, SetDistance)}
        keys = {at: [_key(group, name) for name in names] for at, group in groups.items()}
        missing = {
            at: [key[-1] for key in wanted if key not in known]
            for at, wanted in keys.items()
            if any(key not in known for key in wanted)
        }
        progress(0, len(missing))
        for done, (at, wanted) in enumerate(missing.items(), 1):
            try:
                found = _measure(groups[at], originals, folder, wanted)
            except PliantError as error:
                failed(type(error)(f"distances of {at[0]} at {at[1]:g}: {error}"))
                found = []
            for entry in found:
                journal.append(folder / JOURNAL, asdict(entry))
                known[entry.key] = entry
            progress(done, len(missing))
        found = [known[key] for wanted in keys.values() for key in wanted if key in known]
        journal.write_csv(folder / CSV, map(asdict, found))
    return found


def curves_of(found: Iterable[SetDistance]) -> dict[str, Curve]:
    """One distance over the rate, codec by codec in the given order."""
    groups: dict[str, list[SetDistance]] = defaultdict(list)
    for entry in found:
        groups[entry.codec].append(entry)
    return {codec: _curve(group) for codec, group in groups.items()}


def _curve(found: Sequence[SetDistance]) -> Curve:
    points = sorted(found, key=lambda entry: entry.bpp)
    return Curve(
        bpp=tuple(entry.bpp for entry in points),
        metrics={points[0].name: tuple(entry.value for entry in points)},
        quality=tuple(entry.quality for entry in points),
    )


def _whole(rows: Sequence[Row]) -> dict[tuple[str, float], list[Row]]:
    """The rows by codec and quality, where these have all images."""
    groups: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in rows:
        if row.metrics:
            groups[row.codec, row.quality].append(row)
    count = len({row.image for row in rows if row.metrics})
    return {at: group for at, group in groups.items() if len(group) == count}


def _key(group: Sequence[Row], name: str) -> _Key:
    """The set counts with its pictures in any order."""
    digest = hashlib.sha256(" ".join(sorted(row.digest for row in group)).encode())
    return group[0].codec, group[0].version, group[0].quality, digest.hexdigest()[:16], name


def _measure(
    group: Sequence[Row],
    originals: Mapping[str, Path],
    folder: Path,
    names: Sequence[str],
) -> list[SetDistance]:
    lacking = [row.image for row in group if not kept.has_file(folder, row)]
    if lacking:
        raise PliantError(f"no kept file of {', '.join(lacking)}")
    references = [originals[row.image] for row in group]
    decoded = (kept.decode(folder, row) for row in group)
    values = distances(references, decoded, names)
    codec, version, quality, digest, _ = _key(group, "")
    return [
        SetDistance(
            codec=codec,
            version=version,
            quality=quality,
            digest=digest,
            name=name,
            features=_description(DISTANCES[name].features),
            bpp=sum(row.bpp for row in group) / len(group),
            images=len(group),
            patches=sum(patch_count(row.height, row.width) for row in group),
            value=value,
        )
        for name, value in values.items()
    ]


@cache
def _description(features: str) -> str:
    return _features(features).description


def _features(name: str) -> Features:
    runtime.prepare()
    from pliant.evaluation.features import find_features

    return find_features(name)
