"""Rate-distortion of Pliant and its rivals on a folder of photos, usually Kodak's 24.

    python benchmarks/kodak.py --data ../shared/data/kodak

Rates are real file bytes; files are decoded in another process. The mean curve over the images at
constant quality is the headline, the mean of the images' own BD-rates stands beside it. Rows are
kept in `.cache/evaluation`, so that a second run is quick. Writes `FOLDER.json`, `FOLDER.md` and
`FOLDER.svg` named after the data folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import environment

from pliant.evaluation import codecs, curves, plots, tables
from pliant.evaluation.document import Block, Text, markdown
from pliant.evaluation.pictures import images_in
from pliant.evaluation.run import evaluate
from pliant.evaluation.table import Row

RIVALS = ("jpeg-420", "webp", "avif-444", "avif-444-psnr", "jxl")
ANCHORS = ("avif-444", "avif-444-psnr", "webp")
METRICS = ("psnr", "ms_ssim")


def main() -> None:
    """Measures, then writes the three result files."""
    arguments = _parser().parse_args()
    specs = [*arguments.codecs]
    if not arguments.anchors_only:
        pliant = "pliant" if arguments.model == "default" else f"pliant:{arguments.model}"
        qualities = ",".join(map(str, arguments.pliant_qualities))
        specs.append(f"{pliant}@{qualities}" if qualities else pliant)
    start = time.perf_counter()
    rows = evaluate(
        specs,
        images_in(arguments.data)[: arguments.limit],
        environment.cache(arguments.data),
        metrics=METRICS,
        workers=arguments.workers,
        progress=lambda done, total: print(
            f"\r{time.perf_counter() - start:6.0f} s  {done} of {total} rows",
            end="" if done < total else "\n",
            file=sys.stderr,
        ),
    )
    stem = arguments.data.resolve().name + ("-anchors" if arguments.anchors_only else "")
    _write(rows, arguments.out, stem)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of images")
    parser.add_argument("--limit", type=int, help="only the first images")
    parser.add_argument("--anchors-only", action="store_true", help="only Pliant's rivals")
    parser.add_argument(
        "--codecs", nargs="+", default=RIVALS, help="rivals, as `pliant eval --list` prints them"
    )
    parser.add_argument("--model", default="default", help="which of Pliant's models")
    parser.add_argument(
        "--pliant-qualities", nargs="+", type=float, default=(), help="default: 0 5 15 ... 95 100"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--out", type=Path, default=environment.RESULTS, help="result folder")
    return parser


def _write(rows: Sequence[Row], out: Path, stem: str) -> None:
    groups = curves.by_codec(rows)
    means = {name: curves.mean_curve(group) for name, group in groups.items()}
    comparisons = {name: curves.compare(rows, name) for name in ANCHORS if name in groups}
    count = len({row.image for row in rows})
    result: dict[str, Any] = {
        "images": count,
        "codecs": {
            name: {
                "label": codecs.find(name).label,
                "version": group[0].version,
                "mean": _mean(means[name]),
                "per_image": _per_image(group),
            }
            for name, group in groups.items()
        },
        "bd_rate": [
            asdict(entry) for found in comparisons.values() for entry in found if entry.bpp
        ],
    }
    environment.write(out / f"{stem}.json", result)
    title = f"{stem}: {count} images, RGB, means at constant quality"
    blocks: list[Block] = [
        Text(
            "BD-rate in percent (PCHIP), negative means fewer bits; mean curve / mean of the"
            " images' own."
        )
    ]
    for found in comparisons.values():
        for metric in METRICS:
            blocks += [Text(f"{curves.metric_label(metric)}:"), tables.bd_summary(found, metric)]
    blocks.append(tables.mean_curves(means, METRICS))
    text = markdown(title, blocks, out)
    (out / f"{stem}.md").write_text(text)
    lines = [plots.Line(codecs.find(name).label, curve) for name, curve in means.items()]
    plots.rate_distortion(lines, "psnr", out / f"{stem}.svg", title, log_rate=True)
    print(f"{text}\nwritten: {out / stem}.json, .md, .svg")


def _mean(curve: curves.Curve) -> dict[str, list[float]]:
    columns = {"quality": curve.quality, "bpp": curve.bpp, **curve.metrics}
    return {name: [round(x, 6) for x in columns[name]] for name in ("quality", "bpp", *METRICS)}


def _per_image(rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """The values of each image in the order of its qualities."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        columns = found.setdefault(row.image, {"bytes": [], "psnr": [], "ms_ssim": []})
        columns["bytes"].append(row.bytes)
        columns["psnr"].append(round(row.psnr, 4))
        columns["ms_ssim"].append(round(row.ms_ssim, 6))
    return found


if __name__ == "__main__":
    main()
