"""What the default model could take over from variable-rate post-training, measured.

    python benchmarks/default_trials.py DATA/valid

Offsets: by how much the squared error of its latents would fall if decoded values moved to the mean
of what they stand for, separately for every magnitude, table index and rate: more than a network of
scale and gain can reach. Balance: whether the gradients of different rates, in its prior, oppose
each other, which is what weights by the minimum norm point are for.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import environment
import numpy as np
import torch
from torch import Tensor

from pliant.evaluation.pictures import images_in, read_rgb
from pliant.layers.exact import RateVector
from pliant.layers.trellis import ONE
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.models.blocks import to_tensor
from pliant.priors import walk
from pliant.training import min_norm

RATES = (100, 500, 900, 1300, 1700)
MAGNITUDES = 4  # the last one stands for all larger ones
CROP = 512
RESULT = environment.RESULTS / "default-trials.json"


def main() -> None:
    """Measures both and writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder of validation photos")
    parser.add_argument("--limit", type=int, default=6, help="use the first N photos")
    chosen = parser.parse_args()
    photos = centres(chosen.data, chosen.limit)
    model = registry.load().model
    offsets = {rate: saved_error(model, photos, rate) for rate in RATES}
    trained = registry.build(registry.DEFAULT)  # the loaded one may work on bytes
    trained.load_state_dict(model.state_dict())
    result = {"photos": len(photos), "offsets": offsets, "balance": balance(trained, photos)}
    environment.write(RESULT, result)
    for rate, saved in offsets.items():
        print(f"rate {rate}: offsets could save {saved['decibels']} dB, {saved['by_magnitude']}")
    print(result["balance"])


def centres(folder: Path, count: int) -> list[Tensor]:
    """The middles of the first `count` photos."""
    return [centre(path) for path in images_in(folder)[:count]]


def centre(path: Path) -> Tensor:
    """The middle of a photo, (1, 3, CROP, CROP)."""
    pixels = read_rgb(path)
    top, left = ((n - CROP) // 2 for n in pixels.shape[:2])
    return to_tensor(pixels[top : top + CROP, left : left + CROP])


@torch.inference_mode()
def saved_error(model: ImageModel, photos: list[Tensor], rate: int) -> dict[str, Any]:
    """The share of squared error that means of classes would save, in all and by magnitude."""
    sums = np.zeros((3, MAGNITUDES + 1, 64))  # count, signed error, squared error
    for photo in photos:
        for magnitude, index, outward, error in _classes(model, photo, rate):
            for row, values in zip(sums, (np.ones_like(error), outward, error**2), strict=True):
                np.add.at(row, (magnitude, index), values)
    count, outward, squared = sums
    saved = np.where(count > 0, outward**2 / np.maximum(count, 1), 0) / squared.sum()
    return {
        "decibels": round(-10 * math.log10(1 - saved.sum()), 4),
        "by_magnitude": [round(float(100 * share), 3) for share in saved.sum(1)],
    }


def _classes(model: ImageModel, photo: Tensor, rate: int) -> Iterator[tuple[np.ndarray, ...]]:
    """(magnitude, table index, error away from zero, error) of each step's values, flat."""
    vector, size = RateVector(torch.tensor([rate])), (CROP, CROP)
    latents = model.scale(model.transform.analysis(photo), vector)
    _, parts = walk.bits(model.prior, latents, size, vector, model.strength)
    steps = walk.taught(model.prior, parts, size, vector)
    for step, wanted, q in zip(steps, model.prior.split(latents), parts, strict=True):
        if step.on_trellis:
            error = wanted - torch.where(q.abs() == 1, ONE * q, q)
            magnitude = q.abs().clamp(max=MAGNITUDES).long()
            values = magnitude, step.index.long(), error * q.sign(), error
            yield tuple(x.contiguous().numpy().ravel() for x in values)


def balance(model: ImageModel, photos: list[Tensor]) -> dict[str, Any]:
    """Cosines between the gradients of relative rate at `RATES`, and their min-norm weights."""
    parameters = [p for p in model.prior.parameters() if p.requires_grad]  # type: ignore[attr-defined]
    gradients = []
    for rate in RATES:
        total = torch.zeros(())
        for photo in photos:
            total = total + _relative_bits(model, photo, rate)
        found = torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
        gradients.append(torch.cat([g.flatten() for g in found]).double())
    matrix = torch.stack(gradients)
    gram = (matrix @ matrix.T).numpy()
    norms = np.sqrt(np.diag(gram))
    cosines = gram / np.outer(norms, norms)
    pairs = itertools.combinations(range(len(RATES)), 2)
    return {
        "rates": RATES,
        "norms": [round(float(n), 4) for n in norms],
        "cosines": [[round(float(c), 3) for c in row] for row in cosines],
        "least_cosine": round(min(float(cosines[i, j]) for i, j in pairs), 3),
        "weights": [round(float(w), 3) for w in min_norm.weights(gram)],
    }


def _relative_bits(model: ImageModel, photo: Tensor, rate: int) -> Tensor:
    """Bits over their value: what training minimises, with the gradient of the prior alone."""
    vector, size = RateVector(torch.tensor([rate])), (CROP, CROP)
    with torch.no_grad():
        latents = model.scale(model.transform.analysis(photo), vector)
    bits, _ = walk.bits(model.prior, latents, size, vector, model.strength)
    return (bits / bits.detach()).sum()


if __name__ == "__main__":
    main()
