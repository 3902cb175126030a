"""What fitting the default model to each picture gains, with the weights as they are.

    python benchmarks/default_encoder.py DATA/valid --train DATA/train

Each trial changes what the encoder chooses, or what it could tell the decoder, and nothing else:

* colours: angles of the picture's own colours (`transforms/colour.py`), which the model has.
* strength: of rate in the choice of symbols, other than 1.
* scales: a shift of table indices for each plane of each pass, two bits each.
* tables: those of the Laplacian, and fitted to other photos (`training/table_fit.py`).
* filter: a symmetric filter for each colour after restoration, fitted to the picture by least
  squares, and the same fitted to all pictures at once; twelve coefficients, not counted.

Rates are estimates over crops; a result is the change of rate at equal PSNR between two rates.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import environment
import numpy as np
import torch
from default_trials import centres
from scipy.interpolate import PchipInterpolator
from torch import Tensor
from torch.nn import functional as F

from pliant.entropy.tables import PRECISION
from pliant.layers.exact import RateVector
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.priors import walk
from pliant.training import table_fit

RATES = (256, 768, 1152, 1472, 1792)
STRENGTHS = (0.8, 1.2, 1.5)
SHIFTS = (-2, -1, 1, 2)
SHIFT_BITS = 2
OFFSETS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (1, 2), (2, 1), (1, -2), (2, -1))
FAR = ((0, 3), (3, 0))
RESULT = environment.RESULTS / "default-encoder.json"

Points = list[tuple[float, float]]  # mean bits per pixel and PSNR at each rate
Way = Callable[[Tensor, RateVector], tuple[Tensor, Tensor]]


@torch.inference_mode()
def main() -> None:
    """Measures all trials and writes the result file."""
    chosen = parsed(__doc__)
    photos = centres(chosen.data, chosen.limit)
    model = registry.load().model
    strengths = [partial(at_strength, model, strength=s) for s in (model.strength, *STRENGTHS)]
    names = ["as it is", *(f"strength {s}" for s in STRENGTHS), "fixed colours"]
    ways = dict(zip(names, [*strengths, partial(plain, model)], strict=True))
    curves = {name: curve(way, photos) for name, way in ways.items()}
    result = {
        "photos": len(photos),
        "rates": RATES,
        "percent": {n: percent(curves["as it is"], c) for n, c in curves.items()},
        "curves": curves,
        "tables_percent": refitted(model, photos, chosen.train),
        "scales_percent": [shifted(model, photos, rate) for rate in RATES],
        "filter_decibels": [filtered(model, photos, rate) for rate in RATES],
    }
    environment.write(RESULT, result)
    for name in ("percent", "tables_percent", "scales_percent", "filter_decibels"):
        print(name, result[name])


def parsed(documentation: str | None) -> argparse.Namespace:
    """The command line: folders of validation photos and of others, and how many of the first."""
    parser = argparse.ArgumentParser(description=(documentation or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of validation photos")
    parser.add_argument("--train", type=Path, required=True, help="folder of other photos")
    parser.add_argument("--limit", type=int, default=8, help="use the first N photos")
    return parser.parse_args()


def at_strength(
    model: ImageModel, image: Tensor, rate: RateVector, strength: float
) -> tuple[Tensor, Tensor]:
    """Bits and decoded picture."""
    return model.round_trip(image, rate, strength)


def plain(model: ImageModel, image: Tensor, rate: RateVector) -> tuple[Tensor, Tensor]:
    """Bits and decoded picture without an adaptation."""
    size = (image.shape[2], image.shape[3])
    latents = model.scale(model.transform.analysis(image), rate)
    bits, parts = walk.bits(model.prior, latents, size, rate, model.strength)
    return bits, model.decoded(model.prior.merge(parts, size), rate)


def curve(way: Way, photos: list[Tensor]) -> Points:
    """Means over photos at every rate."""
    points = []
    for r in RATES:
        rate = RateVector(torch.tensor([r]))
        found = [_measured(photo, *way(photo, rate)) for photo in photos]
        bpp, psnr = np.mean(found, axis=0).tolist()
        points.append((round(bpp, 4), round(psnr, 3)))
    return points


def _measured(image: Tensor, bits: Tensor, decoded: Tensor) -> tuple[float, float]:
    error = float((decoded.clamp(0, 255).round() - image).square().mean())
    return float(bits) / image[0, 0].numel(), 10 * float(np.log10(255**2 / error))


def percent(reference: Points, test: Points) -> list[float]:
    """Change of rate at equal PSNR between one rate of the reference and the next, fine first."""
    (psnr_r, log_r), (psnr_t, log_t) = (
        (np.array([p for _, p in c[::-1]]), np.log([b for b, _ in c[::-1]]))
        for c in (reference, test)
    )
    found = []
    for low, high in itertools.pairwise(psnr_r):
        grid = np.linspace(max(low, psnr_t[0]), min(high, psnr_t[-1]), 50)
        gap = PchipInterpolator(psnr_t, log_t)(grid) - PchipInterpolator(psnr_r, log_r)(grid)
        found.append(round(100 * float(np.expm1(gap.mean())), 2))
    return found[::-1]


def refitted(model: ImageModel, photos: list[Tensor], others: Path) -> list[float]:
    """Change of rate, in percent, by tables fitted to other photos, at every rate."""
    plain = model.tables()
    fitted = table_fit.fitted(model, [str(others)])
    changes = []
    for r in RATES:
        uses = sum(table_fit.uses_of(model, photo, r, plain) for photo in photos)
        before, after = (
            float((uses * (PRECISION - np.log2(tables.counts.astype(float)))).sum())
            for tables in (plain, fitted)
        )
        changes.append(round(100 * (after / before - 1), 2))
    return changes


def shifted(model: ImageModel, photos: list[Tensor], r: int) -> float:
    """Change of rate, in percent, by the best shift of indices for each plane of each pass."""
    before, after = 0.0, 0.0
    for step, symbols in _steps(model, photos, r):
        costs = [step.bits(symbols).sum((0, 2, 3))]
        for shift in SHIFTS:
            index = (step.index.float() + shift).clamp(0, 63).to(step.index.dtype)
            costs.append(replace(step, index=index).bits(symbols).sum((0, 2, 3)))
        before += float(costs[0].sum())
        after += float(torch.stack(costs).amin(0).sum()) + SHIFT_BITS * len(costs[0])
    return round(100 * (after / before - 1), 2)


def _steps(model: ImageModel, photos: list[Tensor], r: int) -> Iterator[tuple[walk.Step, Tensor]]:
    for photo in photos:
        latents = model.transform.analysis(photo)
        rate = model.fitted(latents, RateVector(torch.tensor([r])))
        size = (photo.shape[2], photo.shape[3])
        _, parts = walk.bits(model.prior, model.scale(latents, rate), size, rate, model.strength)
        yield from zip(walk.taught(model.prior, parts, size, rate), parts, strict=True)


def filtered(model: ImageModel, photos: list[Tensor], r: int) -> dict[str, float]:
    """Gain in PSNR by filters fitted to each picture, and by one fitted to all."""
    sums = []
    for photo in photos:
        _, decoded = model.round_trip(photo, RateVector(torch.tensor([r])), model.strength)
        sums.append([_normal(decoded[:, c : c + 1], photo[:, c : c + 1]) for c in range(3)])
    joint = [_solved([s[c] for s in sums]) for c in range(3)]
    base = np.array([sum(float(s[2]) for s in colours) for colours in sums])
    own = [sum(_error(_solved([s]), s) for s in colours) for colours in sums]
    common = [sum(_error(joint[c], colours[c]) for c in range(3)) for colours in sums]

    def gain(errors: list[float]) -> float:
        return round(float(np.mean(10 * np.log10(base / np.array(errors)))), 4)

    return {"own": gain(own), "one for all": gain(common)}


def _normal(decoded: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normal equations of a filter's coefficients, and the squared error without it."""
    padded = F.pad(decoded, (3, 3, 3, 3), mode="replicate")
    height, width = decoded.shape[2:]

    def moved(dy: int, dx: int) -> Tensor:
        return padded[0, 0, 3 + dy : 3 + dy + height, 3 + dx : 3 + dx + width]

    planes = [moved(y, x) + moved(-y, -x) - 2 * decoded[0, 0] for y, x in (*OFFSETS, *FAR)]
    a = torch.stack(planes).flatten(1).double()
    b = (wanted - decoded).flatten().double()
    return a @ a.T, a @ b, b @ b


def _solved(sums: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The coefficients; pictures count by their own error."""
    left = torch.stack([s[0] / s[2] for s in sums]).sum(0)
    right = torch.stack([s[1] / s[2] for s in sums]).sum(0)
    found: Tensor = torch.linalg.pinv(left) @ right
    return found


def _error(coefficients: Tensor, sums: tuple[Tensor, Tensor, Tensor]) -> float:
    left, right, base = sums
    return float(base - 2 * coefficients @ right + coefficients @ left @ coefficients)


if __name__ == "__main__":
    main()
