"""BD-rate against training steps: every snapshot of a run, on validation photos, against AVIF.

Bits are estimated (they equal file bytes within 0.5 %, which the tests hold); the anchor's are file
bytes. The result file grows: snapshots that it knows already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import environment
import torch

from pliant.evaluation import metrics
from pliant.evaluation.curves import Curve, bd_rate, mean_curve
from pliant.evaluation.pictures import images_in, read_rgb
from pliant.evaluation.run import evaluate
from pliant.evaluation.table import Row
from pliant.layers.exact import RateVector
from pliant.models.base import ImageModel
from pliant.models.blocks import to_pixels, to_tensor
from pliant.priors import walk
from pliant.rate import to_rate
from pliant.training import export

ANCHOR = "avif-444"
RANGES = ((0.1, 1.0), (1.0, 4.0))
HEADER_BYTES = 32
QUALITIES = (4, 12, 20, 30, 40, 50, 60, 70, 80, 90)


@torch.inference_mode()
def estimate(model: ImageModel, path: Path, quality: float) -> Row:
    """One photo at one quality: estimated bits and the PSNR of the decoded picture."""
    pixels = read_rgb(path)
    height, width = pixels.shape[:2]
    vector = RateVector(torch.tensor([to_rate(quality)]))
    image = model.pad(to_tensor(pixels))
    size = (image.shape[2], image.shape[3])
    latents = model.scale(model.transform.analysis(image), vector)
    bits, parts = walk.bits(model.prior, latents, size, vector, model.strength)
    decoded = to_pixels(model.decoded(model.prior.merge(parts, size), vector), height, width, 3)
    count = float(bits) / 8 + HEADER_BYTES
    return Row(
        codec="pliant",
        version="",
        image=path.name,
        digest="",
        quality=quality,
        width=width,
        height=height,
        bytes=round(count),
        metrics={"psnr": metrics.psnr(pixels, decoded)},
    )


def curve(model: ImageModel, paths: list[Path]) -> Curve:
    """The mean curve of a model."""
    return mean_curve([estimate(model, p, q) for p in paths for q in QUALITIES])


def compare(model: ImageModel, paths: list[Path], anchor: list[Row]) -> dict[str, Any]:
    """BD-rate below and above 1 bpp, and the curve itself."""
    ours, theirs = curve(model, paths), mean_curve(anchor)
    found = [bd_rate(theirs, ours, r) for r in RANGES]
    low, high = (round(bd.percent, 2) if bd else None for bd in found)
    points = [[round(b, 4), round(p, 3)] for b, p in zip(ours.bpp, ours.psnr, strict=True)]
    return {"low": low, "high": high, "curve": points}


def main() -> None:
    """Measures the snapshots that are not in the result file yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of `pliant train`")
    parser.add_argument("--data", type=Path, required=True, help="folder of validation photos")
    parser.add_argument("--limit", type=int, default=8, help="use the first N photos")
    parser.add_argument("--snapshots", nargs="*", help="snapshot files instead of all")
    parser.add_argument("--out", type=Path, default=environment.RESULTS / "learning-curve.json")
    arguments = parser.parse_args()
    paths = images_in(arguments.data)[: arguments.limit]
    anchor = evaluate([ANCHOR], paths, environment.cache(arguments.data))
    known = json.loads(arguments.out.read_text())["steps"] if arguments.out.exists() else {}
    files = [Path(s) for s in arguments.snapshots or sorted(arguments.run.glob("average-*.pt"))]
    for file in files:
        step = str(int(re.sub(r"\D", "", file.stem) or 0))
        if step not in known:
            known[step] = compare(export.read(file).model, paths, anchor)
            low, high = known[step]["low"], known[step]["high"]
            print(f"step {step}: {low} % low, {high} % high", flush=True)
    result = {"anchor": ANCHOR, "photos": len(paths), "ranges": RANGES, "steps": known}
    environment.write(arguments.out, result)


if __name__ == "__main__":
    main()
