"""The report of a run: Markdown, one HTML page, plots, crops, and JSON in CompressAI's schema."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pliant.errors import PliantError, UsageError
from pliant.evaluation import (
    codecs,
    crops,
    document,
    machine,
    plots,
    published,
    set_distances,
    tables,
)
from pliant.evaluation.curves import (
    BDRate,
    Curve,
    Metric,
    bd_of_images,
    by_codec,
    by_image,
    common_metrics,
    compare,
    complete,
    mean_curve,
    measured,
    metric_label,
)
from pliant.evaluation.document import Block, Bullets, Facts, Heading, Picture, Pictures, Text
from pliant.evaluation.set_distances import SetDistance
from pliant.evaluation.table import Row
from pliant.files import output_file

MARKDOWN, PAGE, JSON_FOLDER = "report.md", "report.html", "compressai"
# CompressAI's plotting tool reads the second name of each; its older versions read the first.
_COMPRESSAI_NAMES = {"psnr": ("psnr", "psnr-rgb"), "ms_ssim": ("ms-ssim", "ms-ssim-rgb")}
_METHOD = (
    "Rate is bits of the file per pixel; every picture was decoded from its file.",
    "Metrics are computed per image on 8-bit RGB and then averaged; a mean curve has the means of "
    "rate and metric over the images, quality by quality.",
    "BD-rate is the mean difference in rate at equal metric, in percent, by the bjontegaard "
    "package (PCHIP, log rate): negative means fewer bits. It covers what both curves span, within "
    "the stated range of the anchor's mean rate. MS-SSIM is compared in dB, -10 log10(1 - value).",
    "Cells with two figures are mean curve / mean of the images' own BD-rates, (1/3) meaning that "
    "one image of three has one. A codec whose "
    "quality setting fixes the rate of every image (JPEG 2000) looks better on the mean curve than "
    "image by image; where the two disagree, trust the second.",
)

_DISTANCE_METHOD = (
    "All patches of 256×256 on two grids, the second shifted by 128 both ways (HiFiC), of all "
    "pictures that a codec made at one quality, against those of the originals; lower is better.",
    "Values hold for one number of patches and one kind of features; they cannot be compared with "
    "others. Only those on Inception features are FID and KID.",
)


@dataclass(frozen=True)
class _Run:
    """What every section needs: the complete rows, their curves, and the images' own BD-rates.

    cropped: the codecs whose best and worst images are shown.
    """

    folder: Path
    images: Path
    anchor: str
    rows: Sequence[Row]
    timed: Sequence[Row]
    curves: Mapping[str, Curve]
    metrics: Sequence[Metric]
    own: Mapping[str, Mapping[str, BDRate]]
    test_set: str | None
    distances: Sequence[SetDistance]
    cropped: Collection[str]

    @property
    def name(self) -> str:
        """Of the folder of images."""
        # it may hold bytes that are no text
        return self.images.resolve().name.encode(errors="backslashreplace").decode()

    @property
    def count(self) -> int:
        """How many images were measured completely."""
        return len({row.image for row in self.rows})


def write(
    folder: Path,
    rows: Sequence[Row],
    *,
    anchor: str,
    images: Path,
    distances: Sequence[SetDistance] = (),
    shown: Collection[str] | None = None,
) -> list[Path]:
    """Writes the report of these rows into the folder of their run.

    Args:
        folder: of the run; the kept files in it give the crops.
        rows: those without metrics appear among the timings only.
        anchor: name of the codec that the others are compared with.
        images: folder of the originals.
        distances: between the sets of originals and decoded pictures.
        shown: names of the codecs whose best and worst images are shown in crops; all by default.

    Returns:
        The page, the Markdown, then one JSON file per codec.

    Raises:
        UsageError: the anchor has no rows.
        MissingError: matplotlib or bjontegaard is missing.
    """
    run = _prepare(folder, rows, anchor, images, distances, shown)
    title = f"{len(by_codec(rows))} codecs on {run.name}"
    blocks = [block for section in _SECTIONS for block in section(run)]
    page, text = folder / PAGE, folder / MARKDOWN
    _write(page, document.html(title, blocks))
    _write(text, document.markdown(title, blocks, folder))
    return [page, text, *write_compressai(folder / JSON_FOLDER, run.rows, distances)]


def write_compressai(
    folder: Path, rows: Sequence[Row], distances: Sequence[SetDistance] = ()
) -> list[Path]:
    """Writes the mean curve of each codec as a result file of CompressAI's.

    Distances of sets are in it where every point has one, of the same images.
    """
    written = []
    for name, group in by_codec(rows).items():
        curve, count = mean_curve(group), len({row.image for row in group})
        results: dict[str, list[float]] = {"bpp": list(curve.bpp)}
        for metric, values in curve.metrics.items():
            for theirs in _COMPRESSAI_NAMES.get(metric, (metric,)):
                results[theirs] = list(values)
        for column, theirs in (
            ("encode_seconds", "encoding_time"),
            ("decode_seconds", "decoding_time"),
        ):
            seconds = {
                q: [getattr(r, column) for r in group if r.quality == q] for q in curve.quality
            }
            results[theirs] = [sum(column) / len(column) for column in seconds.values()]
        own = [d for d in distances if d.codec == name and d.images == count]
        for distance in dict.fromkeys(d.name for d in own):
            points = {d.quality: d.value for d in own if d.name == distance}
            if points.keys() >= set(curve.quality):
                results[distance] = [points[quality] for quality in curve.quality]
        version = group[0].version
        entry = {
            "name": name,
            "description": f"{version}; means over {count} images",
            "results": results,
        }
        path = folder / (re.sub(r"[^\w.,=@+-]+", "-", name) + ".json")
        _write(path, json.dumps(entry, indent=2) + "\n")
        written.append(path)
    return written


def _prepare(
    folder: Path,
    rows: Sequence[Row],
    anchor: str,
    images: Path,
    distances: Sequence[SetDistance],
    shown: Collection[str] | None,
) -> _Run:
    kept = complete(measured(rows))
    groups = by_codec(kept)
    known = by_codec(rows)
    if anchor not in known:
        raise UsageError(f"no rows of the anchor {anchor!r}; codecs: {', '.join(known) or 'none'}")
    return _Run(
        folder=folder,
        images=images,
        anchor=anchor,
        rows=kept,
        timed=rows,
        curves={name: mean_curve(group) for name, group in groups.items()},
        metrics=common_metrics(kept) if kept else [],
        own={
            name: bd_of_images(groups[anchor], group)
            for name, group in groups.items()
            if anchor in groups and name != anchor
        },
        test_set=published.test_set_of(kept),
        distances=distances,
        cropped=groups if shown is None else shown,
    )


# --- sections -----------------------------------------------------------------------------------


def _setup(run: _Run) -> Iterator[Block]:
    names = sorted({row.image for row in run.rows})
    pixels = {row.image: row.width * row.height for row in run.rows}
    sizes = f"{sum(pixels.values()) / 1e6:.1f} megapixels in all"
    facts = {
        "images": f"{len(names)} of {run.name}, {sizes}",
        "report of": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "command": machine.command(),
        **machine.describe(),
    }
    yield Heading("What was measured")
    yield Facts(facts)
    notes = {name: _notes(name) for name in by_codec(run.timed)}
    yield tables.codec_list(run.timed, notes)
    left_out = sorted({row.image for row in measured(run.timed)} - set(names))
    if left_out:
        yield Text(f"Left out, because a codec lacks some of its rows: {', '.join(left_out)}.")


def _notes(name: str) -> str:
    """What the codec says about its colours and its figures; empty if it is not at hand."""
    try:
        codec = codecs.find(name)
    except PliantError:
        return ""
    return " ".join(filter(None, (codec.colour, codec.note)))


def _plots(run: _Run) -> Iterator[Block]:
    if not run.curves:
        yield Text("No image has all of its rows with metrics, so there are only timings.")
        return
    yield Heading("Rate and distortion")
    for metric in run.metrics:
        yield Heading(metric_label(metric), 3)
        lines = [plots.Line(name, curve) for name, curve in run.curves.items()]
        lines += [plots.Line(c.label, c.curve, published=True) for c in _shown(run, metric)]
        yield _plot_pair(run, metric, lines, f"{run.name}, means over {run.count} images")


def _plot_pair(run: _Run, metric: Metric, lines: Sequence[plots.Line], title: str) -> Pictures:
    pictures = []
    for kind in ("log", "linear"):
        path = run.folder / "plots" / f"{metric}-{kind}.svg"
        plots.rate_distortion(lines, metric, path, title, log_rate=kind == "log")
        names = ", ".join(line.label for line in lines)
        alt = f"{metric_label(metric)} over bits per pixel, {kind} rate axis: {names}"
        pictures.append(Picture(path, alt))
    return Pictures(pictures, plots=True)


def _shown(run: _Run, metric: Metric) -> list[published.PublishedCurve]:
    """The published curves that plots and tables show, where the test set is known."""
    known = published.curves(run.test_set, metric) if run.test_set else []
    return [curve for curve in known if curve.name in published.SHOWN]


def _deltas(run: _Run) -> Iterator[Block]:
    if run.anchor not in run.curves or not run.own:
        return
    comparisons = compare(run.rows, run.anchor)
    yield Heading(f"BD-rate against {run.anchor}")
    for metric in run.metrics:
        yield Heading(metric_label(metric), 3)
        yield tables.bd_summary(comparisons, metric)
        yield tables.bd_details(comparisons, metric)


def _matrix(run: _Run) -> Iterator[Block]:
    if len(run.curves) < 2:
        return
    yield Heading("Every codec against every other")
    yield Text("The codec of the line against that of the column, mean curves, whole range.")
    for metric in run.metrics:
        yield Heading(metric_label(metric), 3)
        yield tables.bd_matrix(run.curves, metric)


def _published(run: _Run) -> Iterator[Block]:
    if not run.test_set:
        return
    yield Heading("Against published curves")
    shown: dict[str, published.PublishedCurve] = {}
    for metric in run.metrics:
        anchors = _shown(run, metric)
        if anchors:
            yield Heading(metric_label(metric), 3)
            yield tables.bd_published(run.curves, anchors)
            shown |= {curve.label: curve for curve in anchors}
    yield tables.sources(list(shown.values()))
    yield Bullets(published.notes())


def _distances(run: _Run) -> Iterator[Block]:
    if not run.distances:
        return
    yield Heading("Distances between sets")
    yield Bullets(_DISTANCE_METHOD)
    for name in dict.fromkeys(entry.name for entry in run.distances):
        found = [entry for entry in run.distances if entry.name == name]
        yield Heading(metric_label(name), 3)
        yield Text(
            f"{found[0].patches} patches of {found[0].images} images in either set; "
            f"features: {found[0].features}."
        )
        lines = [plots.Line(*line) for line in set_distances.curves_of(found).items()]
        yield _plot_pair(run, name, lines, f"{run.name}, sets of {found[0].images} images")
        yield tables.set_distances(found)


def _extremes(run: _Run) -> Iterator[Block]:
    if not any(run.own.values()):
        return
    yield Heading("Best and worst images")
    yield Text(f"The images' own BD-rates (PSNR, whole range) against {run.anchor}, in percent.")
    yield tables.images(run.own)
    yield tables.per_image(run.own)
    cropped = {name: own for name, own in run.own.items() if name in run.cropped}
    if cropped:
        yield Text(
            "The crops show, at nearly equal bytes, the place where the codec loses most (worst) "
            f"or wins most (best) in squared error against {run.anchor}."
        )
    groups = {name: by_image(group) for name, group in by_codec(run.rows).items()}
    for name, own in cropped.items():
        for extreme in crops.extremes(name, own):
            yield from _crops(run, extreme, groups)


def _crops(
    run: _Run, extreme: crops.Extreme, groups: Mapping[str, Mapping[str, Sequence[Row]]]
) -> Iterator[Block]:
    kind = "worst" if extreme.worst else "best"
    yield Heading(f"{extreme.codec}, {kind}: {extreme.image}, {extreme.percent:+.1f} %", 3)
    ours, theirs = groups[extreme.codec][extreme.image], groups[run.anchor][extreme.image]
    try:
        pictures = crops.cut(extreme, theirs, ours, run.folder, run.images)
    except PliantError as error:
        yield Text(f"No crops: {error}.")
        return
    yield Pictures(pictures)


def _timings(run: _Run) -> Iterator[Block]:
    yield Heading("Time and memory")
    yield Text(
        "Medians over all rows of a codec, of one thread, in wall seconds per megapixel; ratios "
        f"above one are slower than {run.anchor}. More than one worker means that other rows were "
        "being measured on the same machine at the same time."
    )
    yield tables.timings(run.timed, run.anchor)


def _appendix(run: _Run) -> Iterator[Block]:
    yield Heading("How it was measured")
    if run.curves:
        yield tables.mean_curves(run.curves, run.metrics)
    yield Bullets(_METHOD)


_SECTIONS = (
    _setup,
    _plots,
    _deltas,
    _matrix,
    _published,
    _distances,
    _extremes,
    _timings,
    _appendix,
)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with output_file(path, force=True) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
