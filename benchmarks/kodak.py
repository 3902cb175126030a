"""Rate-distortion of Pliant and its rivals on a folder of photos, usually Kodak's 24.

    python benchmarks/kodak.py --data ../shared/data/kodak

Rates are real file bytes; Pliant's files are decoded in another process. The mean curve over the
images at constant quality is the headline, the mean of the images' own BD-rates stands beside it.
Rows of the released rivals are kept in `.cache/evaluation`, so that a second run is quick. Writes
`FOLDER.json`, `FOLDER.md` and `FOLDER.svg` named after the data folder.
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

from pliant.evaluation import codecs, report, run
from pliant.evaluation.run import Row

RIVALS = ("jpeg-420", "webp", "avif-444", "avif-444-psnr", "jxl")
ANCHORS = ("avif-444", "avif-444-psnr", "webp")


def main() -> None:
    """Measures, then writes the three result files."""
    arguments = _parser().parse_args()
    names = [*arguments.codecs]
    if not arguments.anchors_only:
        names.append("pliant" if arguments.model == "default" else f"pliant:{arguments.model}")
    qualities = {name: arguments.pliant_qualities for name in names if name.startswith("pliant")}
    start = time.perf_counter()
    rows = run.measure(
        names,
        run.images_in(arguments.data),
        qualities=qualities if arguments.pliant_qualities else None,
        workers=arguments.workers,
        cache=run.RowCache(environment.ROOT / ".cache" / "evaluation"),
        progress=lambda line: print(
            f"{time.perf_counter() - start:6.0f} s  {line}", file=sys.stderr
        ),
    )
    stem = arguments.data.resolve().name + ("-anchors" if arguments.anchors_only else "")
    _write(rows, names, arguments.out, stem)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of images")
    parser.add_argument("--anchors-only", action="store_true", help="only Pliant's rivals")
    parser.add_argument(
        "--codecs", nargs="+", default=RIVALS, help=f"rivals, of: {' '.join(codecs.RIVALS)}"
    )
    parser.add_argument("--model", default="default", help="which of Pliant's models")
    parser.add_argument(
        "--pliant-qualities", nargs="+", type=float, help="default: 0 5 15 ... 95 100"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--out", type=Path, default=environment.RESULTS, help="result folder")
    return parser


def _write(rows: Sequence[Row], names: Sequence[str], out: Path, stem: str) -> None:
    found = {name: codecs.find(name) for name in names}
    labels = {name: codec.label for name, codec in found.items()}
    anchors = [name for name in ANCHORS if name in names]
    comparisons = {anchor: report.compare(rows, anchor) for anchor in anchors}
    count = len({row.image for row in rows})
    title = f"{stem}: {count} images, RGB, means at constant quality"
    tables = [report.bd_table(comparisons[anchor], labels) for anchor in anchors]

    result: dict[str, Any] = {
        "images": count,
        "codecs": {
            name: {"label": labels[name], "version": found[name].version, **_curves(group)}
            for name, group in report.by_codec(rows).items()
        },
        "bd_rate": [asdict(entry) for entries in comparisons.values() for entry in entries],
    }
    environment.write(out / f"{stem}.json", result)
    head = (
        f"# {title}\n\nBD-rate in percent (PCHIP), negative means fewer bits; "
        "mean curve / mean of the images' own.\n"
    )
    body = "\n\n".join([head, *tables, report.curve_table(rows, labels)])
    (out / f"{stem}.md").write_text(body + "\n")
    report.plot(rows, labels, out / f"{stem}.svg", title)
    print("\n\n".join(tables))
    print(f"\nwritten: {out / stem}.json, .md, .svg")


def _curves(rows: Sequence[Row]) -> dict[str, Any]:
    """The mean curve, and per image the values in the order of its qualities."""
    mean = report.mean_curve(rows)
    per_image: dict[str, dict[str, list[float]]] = {}
    for row in sorted(rows, key=lambda row: (row.image, mean.quality.index(row.quality))):
        columns = per_image.setdefault(row.image, {"bytes": [], "psnr": [], "ms_ssim": []})
        columns["bytes"].append(row.bytes)
        columns["psnr"].append(round(row.psnr, 4))
        columns["ms_ssim"].append(round(row.ms_ssim, 6))
    means = {field: [round(x, 6) for x in values] for field, values in asdict(mean).items()}
    return {"mean": means, "per_image": per_image}


if __name__ == "__main__":
    main()
