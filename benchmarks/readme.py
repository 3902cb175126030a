"""Puts the figures of `benchmarks/results` into the README, between its two markers."""

from __future__ import annotations

import json
from typing import Any

import environment

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
RANGES = ([0.1, 1.0], [1.0, 4.0])


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((environment.RESULTS / f"{name}.json").read_text())
    return loaded


def _rates(kodak: dict[str, Any]) -> str:
    """BD-rate of every codec against each anchor, mean curves, 0.1-1 / 1-4 bpp."""
    found = {
        (e["codec"], e["anchor"], tuple(e["bpp"])): e["mean_curve"]
        for e in kodak["bd_rate"]
        if e["metric"] == "psnr"
    }
    lines = ["| BD-rate, % (0.1-1 / 1-4 bpp) | " + " | ".join(f"vs {a}" for _, a in ANCHORS) + " |"]
    lines.append("|---" * (len(ANCHORS) + 1) + "|")
    for codec, label in ROWS:
        cells = []
        for anchor, _ in ANCHORS:
            values = [found.get((codec, anchor, tuple(r))) for r in RANGES]
            cells.append(" / ".join(f"{v['percent']:+.1f}" if v else "" for v in values))
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _speed(speed: dict[str, Any]) -> str:
    """Megapixels per second of the warm codecs, encode and decode."""
    lines = ["| 1920x1080, warm | bytes | encode MP/s | decode MP/s |", "|---|---|---|---|"]
    for row in speed["codecs"].values():
        lines.append(
            f"| {row['label']} | {row['bytes']} |"
            f" {row['encode_mps']:.1f} | {row['decode_mps']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Rewrites the part of the README between the markers."""
    kodak, speed = _load("kodak"), _load("speed")
    machine = speed["environment"]
    limit = speed["limit"]["conv_gmacs_per_second"]
    processes = speed["processes"]
    text = f"""
{kodak["images"]} Kodak photos, bytes of real files decoded in another process, PSNR over RGB,
mean curve at constant quality; negative is smaller. `python benchmarks/kodak.py`,
[all figures and the mean of per-image BD-rates](benchmarks/results/kodak.md).

{_rates(kodak)}

{speed["threads"]} threads of {machine["cpu"]} (float32 convolution {limit:.0f} GMAC/s), the others
at the same bytes; cold `pliant decode` of a Kodak-size file
{processes["cold_decode_seconds"]:.1f} s, peak memory at 1080p
{processes["peak_mb_decode"]:.0f} MB. `python benchmarks/speed.py`

{_speed(speed)}
"""
    readme = environment.ROOT / "README.md"
    head, _, rest = readme.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    readme.write_text(head + BEGIN + text + END + tail)


if __name__ == "__main__":
    main()
