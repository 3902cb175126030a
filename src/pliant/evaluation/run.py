"""Codecs x images x qualities to rows: real file bytes, and what comes back from the file.

The folder of a run is also its memory: rows that are in its table already are not computed again.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import pliant
from pliant.errors import MissingError, PliantError, UsageError
from pliant.evaluation import codecs, jobs, kept
from pliant.evaluation.codecs import ImageCodec
from pliant.evaluation.jobs import Picture
from pliant.evaluation.lock import locked
from pliant.evaluation.metrics import METRICS
from pliant.evaluation.table import Key, Row, Table
from pliant.evaluation.workers import Crew, Pair
from pliant.files import remove_leftovers

DEFAULT_METRICS = ("psnr", "psnr_y", "ms_ssim")
FILES = "files"
_NO_CODEC = {"cli", "evaluation", "training"}


def evaluate(
    specs: Sequence[str],
    paths: Sequence[Path],
    folder: Path,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    workers: int = 1,
    keep_files: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
    failed: Callable[[PliantError], None] | None = None,
) -> list[Row]:
    """The rows of every codec on every image at the codec's qualities.

    They come codec by codec as given, image by image in the order of `paths`, by rising quality.
    What the table in `folder` holds is taken from there; metrics that it lacks are computed from
    the kept files. A finished row is in the table whatever happens to the others.

    Args:
        specs: as for `codecs.find`; several of one codec add up their qualities.
        paths: images; their file names identify them in the rows.
        folder: of the table, which becomes `rows.csv` too, and of the encoded files.
        metrics: names in `metrics.METRICS`.
        workers: rows that are worked on at a time, at most, each with one thread in processes of
            its own, so a script must guard its main part as `multiprocessing` wants; 0 works here.
        keep_files: keep the encoded files, for crops and for metrics that are added later.
        progress: receives how many of how many missing rows are done.
        failed: receives what is wrong with a codec that is not available, a picture or a row, and
            the others go on. Without it, it is raised.

    Raises:
        UsageError: an unknown codec or metric, or another run is at work in the folder.
        MissingError: a metric lacks its package or weights, or all codecs do.
    """
    report = failed or _raise
    _check(metrics)
    found = _find(specs, report)
    workers = min(workers, len(paths) * sum(len(codec.qualities) for codec in found))
    with locked(folder), Crew(workers) as crew:
        remove_leftovers(folder / FILES)
        table = Table(folder)
        points = _points(found, _look(crew, paths, report), metrics)
        known = dict(table.rows)
        missing = {point.key: point for point in points if point.missing_in(known)}
        work = partial(_measure, folder, known, max(1, workers), keep_files)
        progress(0, len(missing))
        for done, (point, outcome) in enumerate(crew.map(work, list(missing.values())), 1):
            if isinstance(outcome, Row):
                table.add(outcome)
            elif isinstance(outcome, MissingError):  # every further row would fail alike
                raise outcome
            else:
                report(_about(point.label, outcome))
            progress(done, len(missing))
        rows = [
            replace(table.rows[point.key], image=point.picture.path.name)
            for point in points
            if point.key in table.rows
        ]
        table.write_csv(rows)
    return rows


def version_of(codec: ImageCodec) -> str:
    """The codec's version; with the source's digest for one that changes while it is worked on."""
    return codec.version if codec.released else f"{codec.version}, source {_source()}"


@cache
def _source() -> str:
    """Of all files of this package that decide what a codec writes and reads."""
    package = Path(pliant.__file__).parent
    files = {path.relative_to(package): path for path in package.rglob("*.py")}
    content = hashlib.sha256()
    for name in sorted(files):
        if name.parts[0] not in _NO_CODEC:
            content.update(name.as_posix().encode() + files[name].read_bytes())
    return content.hexdigest()[:8]


@dataclass(frozen=True)
class _Point:
    """What one row is about. metrics: those that it shall have; stem: of the encoded file."""

    codec: ImageCodec
    picture: Picture
    quality: float
    metrics: tuple[str, ...]
    stem: str

    @property
    def key(self) -> Key:
        return self.codec.name, version_of(self.codec), self.picture.digest, self.quality

    @property
    def label(self) -> str:
        return f"{self.codec.name} at {self.quality:g}, {self.picture.path.name}"

    @property
    def file(self) -> str:
        """Relative to the folder of the run."""
        folder = re.sub(r"[^\w.,=@+-]+", "-", self.codec.name)
        return f"{FILES}/{folder}/{self.stem}@{self.quality:.12g}.{self.codec.extension}"

    def unknown(self, row: Row) -> tuple[str, ...]:
        """The metrics that the row lacks and that may be defined."""
        return tuple(n for n in self.metrics if n not in row.metrics and n not in row.undefined)

    def missing_in(self, rows: Mapping[Key, Row]) -> bool:
        """Whether there is something to do."""
        row = rows.get(self.key)
        return row is None or bool(self.unknown(row))


def _check(metrics: Sequence[str]) -> None:
    """Raises UsageError for an unknown metric, MissingError for one that lacks something."""
    for name in metrics:
        if name not in METRICS:
            raise UsageError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
        METRICS[name].check()


def _find(specs: Sequence[str], report: Callable[[PliantError], None]) -> list[ImageCodec]:
    """The available codecs, each once, with the qualities that are wanted of it, rising."""
    found: dict[str, ImageCodec] = {}
    missing: MissingError | None = None
    for spec in specs:
        try:
            codec = codecs.find(spec)
        except MissingError as error:
            missing = error
            report(_about(spec, error))
            continue
        before = found.get(codec.name, codec).qualities
        qualities = tuple(sorted({*before, *map(float, codec.qualities)}))
        found[codec.name] = replace(codec, qualities=qualities)
    if missing and not found:
        raise missing
    return list(found.values())


def _look(
    crew: Crew, paths: Sequence[Path], report: Callable[[PliantError], None]
) -> list[Picture]:
    """The pictures that can be read, in the given order."""
    found: dict[Path, Picture] = {}
    for path, outcome in crew.map(lambda pair, path: pair.reader(jobs.look, path), paths):
        if isinstance(outcome, Picture):
            found[path] = outcome
        else:
            report(_about(path.name, outcome))
    return [found[path] for path in paths if path in found]


def _points(
    found: Sequence[ImageCodec], pictures: Sequence[Picture], metrics: Sequence[str]
) -> list[_Point]:
    stems = Counter(picture.path.stem for picture in pictures)
    return [
        _Point(
            codec=codec,
            picture=picture,
            quality=quality,
            metrics=() if codec.timing_only else tuple(metrics),
            # Two pictures that differ in their suffix only keep it, so that each has its files.
            stem=picture.path.stem if stems[picture.path.stem] == 1 else picture.path.name,
        )
        for codec in found
        for picture in pictures
        for quality in codec.qualities
    ]


def _measure(
    folder: Path,
    known: Mapping[Key, Row],
    workers: int,
    keep_files: bool,
    pair: Pair,
    point: _Point,
) -> Row:
    """Encodes to the file and reads it back; of a known row with a kept file the latter only."""
    codec, image = point.codec, point.picture.path
    row = known.get(point.key)
    if row and kept.has_file(folder, row):
        back = pair.reader(jobs.read, codec.name, image, folder / row.file, point.unknown(row))
        return replace(
            row,
            metrics={**row.metrics, **back.metrics},
            undefined=(*row.undefined, *back.undefined),
        )
    file = folder / point.file
    written = pair.writer(jobs.write, codec.name, image, point.quality, file)
    wanted = dict.fromkeys((*point.metrics, *(row.metrics if row else ())))
    back = pair.reader(jobs.read, codec.name, image, file, tuple(wanted))
    if not keep_files:
        file.unlink()
    return Row(
        codec=codec.name,
        version=version_of(codec),
        image=image.name,
        digest=point.picture.digest,
        quality=point.quality,
        width=point.picture.width,
        height=point.picture.height,
        bytes=written.bytes,
        metrics=back.metrics,
        undefined=back.undefined,
        encode_seconds=written.seconds,
        decode_seconds=back.seconds,
        peak_memory=written.peak_memory,
        workers=workers,
        file=point.file if keep_files else "",
    )


def _about(what: str, error: PliantError) -> PliantError:
    return type(error)(f"{what}: {error}")


def _raise(error: PliantError) -> None:
    raise error
