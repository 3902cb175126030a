r"""A light autoencoder of one rate against the default model, early and late in its training.

    pliant train mean-scale-hyperprior DATA/train --minutes 75 --set distortion_weight=0.0035 \
        --output RUN
    python benchmarks/default_hedge.py RUN --data DATA/valid

Rate at equal PSNR, estimated: against the snapshots in learning-curve.json of the runs behind the
default's second weights, which went on from 600 steps of the same recipe, against its shipped
weights, and AVIF, on the photos of that file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import environment
import learning_curve
import numpy as np
from scipy.interpolate import PchipInterpolator

from pliant.evaluation.curves import mean_curve
from pliant.evaluation.pictures import images_in
from pliant.evaluation.run import evaluate
from pliant.models import complexity, registry
from pliant.training import export
from pliant.training.checkpoint import read_checkpoint, recipe_beside

CURVES = environment.RESULTS / "learning-curve.json"
RESULT = environment.RESULTS / "default-hedge.json"


def change(points: list[list[float]], bpp: float, psnr: float) -> float:
    """The rate `bpp` against that of a curve at the same PSNR, in percent."""
    rates, values = np.array(points).T
    return round(100 * (bpp / float(np.exp(PchipInterpolator(values, np.log(rates))(psnr))) - 1), 1)


def main() -> None:
    """Measures the run and writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="run folder of `pliant train`")
    parser.add_argument("--data", type=Path, required=True, help="folder of validation photos")
    chosen = parser.parse_args()
    known = json.loads(CURVES.read_text())
    paths = images_in(chosen.data)[: known["photos"]]
    file = chosen.run / "checkpoint.pt"
    trained, model = read_checkpoint(file), export.read(file).model
    rows = [learning_curve.estimate(model, path, 0) for path in paths]
    bpp = float(np.mean([8 * row.bytes / (row.width * row.height) for row in rows]))
    psnr = float(np.mean([row.metrics["psnr"] for row in rows]))
    anchor = mean_curve(evaluate([learning_curve.ANCHOR], paths, environment.cache(chosen.data)))
    shipped = learning_curve.curve(registry.load().model, paths)
    curves = {f"default, {step} steps": found["curve"] for step, found in known["steps"].items()}
    for name, points in (("default, shipped", shipped), (learning_curve.ANCHOR, anchor)):
        curves[name] = [list(p) for p in zip(points.bpp, points.psnr, strict=True)]
    result = {
        "recipe": recipe_beside(file),
        "steps": trained["step"],
        "minutes": round(trained["elapsed"] / 60, 1),
        "photos": len(paths),
        "decoder_kmac_per_pixel": round(complexity.macs_per_pixel(model)[1] / 1000, 1),
        "bpp": round(bpp, 4),
        "psnr": round(psnr, 3),
        "percent": {name: change(points, bpp, psnr) for name, points in curves.items()},
    }
    environment.write(RESULT, result)
    print(result)


if __name__ == "__main__":
    main()
