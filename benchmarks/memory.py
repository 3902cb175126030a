"""Memory that models decode a pixel in: what the limits count, beside the peak of a process.

    python benchmarks/memory.py [MODEL ...]

The synthesis of untrained models, on a picture of zeros; each model in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

import environment
import torch

from pliant import runtime
from pliant.layers.exact import RateVector
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.models.blocks import synthesise
from pliant.models.memory import PROCESS_SHARE, bytes_per_pixel

MODELS = (
    "mean-scale-hyperprior-small",
    "bmshj2018-factorized-relu-128",
    "mbt2018-mean-192",
    "cheng2020-attn-128",
    "msinn-8",
    "ilc",
    "ilc-teacher",
)
HEIGHT, WIDTH = 1024, 768
RESULT = environment.RESULTS / "memory.json"


def main() -> None:
    """Measures every model, prints and writes bytes per pixel."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--one", action="store_true", help="in this process, as JSON")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(_measure(chosen.models[0])))
        return
    found = {}
    for name in chosen.models:
        command = [sys.executable, __file__, "--one", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout)
        print(name, found[name], flush=True)
    environment.write(RESULT, {"height": HEIGHT, "width": WIDTH, "models": found})


def _measure(name: str) -> dict[str, float]:
    """Bytes per pixel: of living tensors as counted, of the process, and their ratio."""
    runtime.prepare()
    model = registry.build(name).eval().requires_grad_(False)
    _decode(model, 64, 64)  # what is made once
    before = _peak()
    _decode(model, HEIGHT, WIDTH)
    process = (_peak() - before) / (HEIGHT * WIDTH)
    living = bytes_per_pixel(model) / PROCESS_SHARE
    return {
        "living": round(living),
        "process": round(process),
        "ratio": round(process / living, 2),
    }


@torch.inference_mode()
def _decode(model: ImageModel, height: int, width: int) -> None:
    rate = RateVector(torch.tensor([0]))
    shapes = [y.shape for y in model.transform.analysis(torch.zeros(1, 3, 64, 64))]
    symbols = [torch.zeros(1, c, height * h // 64, width * w // 64) for _, c, h, w in shapes]
    synthesise(model, symbols, rate, (height, width, 3))


def _peak() -> int:
    """Most bytes that this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
