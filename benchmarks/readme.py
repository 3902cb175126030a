"""Puts measured figures into the README, between its two markers.

Rates come from the mean curves beside the newest report on Kodak's photos in `benchmarks/reports`,
speeds from `benchmarks/results/speed.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import environment

from pliant.evaluation import curves, report, tables
from pliant.evaluation.curves import Curve

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
ANCHORS = (("avif-444", "AVIF"), ("avif-444-psnr", "AVIF, tune=psnr"), ("webp", "WebP"))
ROWS = (
    ("pliant", "**Pliant**"),
    ("avif-444", "AVIF 4:4:4, speed 6"),
    ("avif-444-psnr", "AVIF 4:4:4, speed 6, tune=psnr"),
    ("webp", "WebP, method 6"),
    ("jxl", "JPEG XL, effort 7"),
    ("jpeg-420", "JPEG 4:2:0"),
)
RANGES = ((0.1, 1.0), (1.0, 4.0))
SETS = {"mcmaster": "McMaster", "gb82": "gb82"}


def _newest(name: str) -> Path:
    """The folder of the newest report on a test set; their names begin with the date."""
    found = sorted(environment.REPORTS.glob(f"*-{name}"))
    if not found:
        raise SystemExit(f"no report on {name} in {environment.REPORTS}: run benchmarks/report.py")
    return found[-1]


def _curves(folder: Path) -> tuple[dict[str, Curve], int]:
    """The mean curve of each codec in PSNR, and of how many images it is."""
    found, counts = {}, set()
    for path in sorted((folder / report.JSON_FOLDER).glob("*.json")):
        entry = json.loads(path.read_text())
        results = entry["results"]
        found[entry["name"]] = Curve(tuple(results["bpp"]), {"psnr": tuple(results["psnr"])})
        counts.update(re.findall(r"means over (\d+) images", entry["description"]))
    if len(counts) != 1:
        raise SystemExit(f"the curves in {folder} are not of equally many images")
    return found, int(counts.pop())


def _rates(found: Mapping[str, Curve]) -> str:
    """BD-rate of every codec against each anchor, mean curves, 0.1-1 / 1-4 bpp."""
    lines = ["| BD-rate, % (0.1-1 / 1-4 bpp) | " + " | ".join(f"vs {a}" for _, a in ANCHORS) + " |"]
    lines.append("|---" * (len(ANCHORS) + 1) + "|")
    for codec, label in ROWS:
        cells = []
        for anchor, _ in ANCHORS:
            deltas = [curves.bd_rate(found[anchor], found[codec], bpp) for bpp in RANGES]
            cells.append(" / ".join(map(tables.percent, deltas)))
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _links(folder: Path) -> str:
    """To the report, and to those on the other test sets."""
    links = [f"[the report of {folder.name[:10]}]({_page(folder)}) with intervals and every image"]
    links += [f"[{label}]({_page(_newest(name))})" for name, label in SETS.items()]
    return ",\n".join(links)


def _page(folder: Path) -> str:
    return (folder / report.MARKDOWN).relative_to(environment.ROOT).as_posix()


def _speed(speed: dict[str, Any]) -> str:
    """Megapixels per second of the warm codecs, encode and decode: medians, and the fastest."""
    title = "1920x1080, warm; median (fastest)"
    lines = [f"| {title} | bytes | encode MP/s | decode MP/s |", "|---|---|---|---|"]
    for row in speed["codecs"].values():
        cells = [row["label"], str(row["bytes"])]
        for side in ("encode", "decode"):
            cells.append(f"{row[f'{side}_mps']:.1f} ({row[f'fastest_{side}_mps']:.1f})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Rewrites the part of the README between the markers."""
    folder = _newest("kodak")
    found, images = _curves(folder)
    speed = json.loads((environment.RESULTS / "speed.json").read_text())
    machine = speed["environment"]
    limit = speed["limit"]["conv_gmacs_per_second"]
    processes, large = speed["processes"], speed["large"]
    peak = max(large["peak_mb_encode"], large["peak_mb_decode"])
    text = f"""
{images} Kodak photos, bytes of real files decoded in another process, PSNR over RGB,
mean curve at constant quality; negative is smaller. `python benchmarks/report.py --data FOLDER`,
{_links(folder)}.

{_rates(found)}

{speed["threads"]} threads of {machine["cpu"]} (float32 convolution {limit:.0f} GMAC/s), the others
at the same bytes; cold `pliant decode` of a Kodak-size file
{processes["cold_decode_seconds"]:.1f} s, peak memory at 1080p
{processes["peak_mb_decode"]:.0f} MB. Of 24 MP (6000x4000) Pliant encodes
{large["encode_mps"]:.1f} and decodes {large["decode_mps"]:.1f} MP/s, in {peak:.0f} MB.
`python benchmarks/speed.py --data FOLDER`

{_speed(speed)}
"""
    readme = environment.ROOT / "README.md"
    head, _, rest = readme.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    readme.write_text(head + BEGIN + text + END + tail)


if __name__ == "__main__":
    main()
