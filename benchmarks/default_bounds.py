"""What ideas that need training could gain for the default model, its weights as they are.

    python benchmarks/default_bounds.py DATA/valid --train DATA/train

* shapes: tables fitted to the symbols of each class alone, by level, colour and rate. Mixtures
  and other families could gain where the shape of distributions differs.
* packets: ideal bits of the two finest levels' luma, with the variance around each sample known,
  when every band is split once more; beside them those of what a linear prediction from four
  neighbours leaves. The prior knows more of the neighbours than these four.
* target: the picture less what restoration would add to it is coded in its stead, at different
  shares; an encoder that knows its decoder.

All are estimates over crops, those of shapes by the tables. Ideal bits at the coarsest rates are so
few that their changes mean nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import environment
import numpy as np
import torch
from default_encoder import RATES, curve, parsed, percent
from default_trials import CROP, centres
from torch import Tensor
from torch.nn import functional as F

from pliant.entropy import rans
from pliant.entropy.tables import PRECISION, Array, Tables
from pliant.layers.exact import RateVector
from pliant.layers.lifting import split_2d
from pliant.layers.quantize import step_size
from pliant.layers.trellis import STEP
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.models.pyramid import PyramidModel
from pliant.priors import walk
from pliant.priors.pyramid import LUMA
from pliant.training.data import PhotoStore, cache_folder
from pliant.training.table_fit import CROP as TRAINED_CROP
from pliant.units import RATE_MAX

CROPS = 192  # of training photos, at rates spread over all
SHARES = (0.25, 0.5, 1.0)
BANDS = 5  # of rates
WINDOWS = {"bands": 9, "packets": 5}  # about the same pixels
RESULT = environment.RESULTS / "default-bounds.json"

Uses = Iterator[tuple[dict[str, str], Array]]


@torch.inference_mode()
def main() -> None:
    """Measures all and writes the result file."""
    chosen = parsed(__doc__)
    photos = centres(chosen.data, chosen.limit)
    model = registry.load().model
    assert isinstance(model, PyramidModel)
    known = curve(partial(towards, model, share=0.0), photos)
    result = {
        "photos": len(photos),
        "rates": RATES,
        "shapes_percent": shapes(model, photos, chosen.train),
        "packets_percent": [packets(model, photos, rate) for rate in RATES],
        "target_percent": {
            share: percent(known, curve(partial(towards, model, share=share), photos))
            for share in SHARES
        },
    }
    environment.write(RESULT, result)
    for name in ("shapes_percent", "packets_percent", "target_percent"):
        print(name, result[name])


def shapes(model: ImageModel, photos: list[Tensor], others: Path) -> list[dict[str, float]]:
    """Change of rate, in percent, by tables for each class instead of one set, at every rate."""
    store, rng = PhotoStore([str(others)], cache_folder(), TRAINED_CROP), np.random.default_rng(1)
    plain = model.tables()
    counted: dict[tuple[str, str], Array] = defaultdict(lambda: np.zeros_like(plain.counts, int))
    for place in (np.arange(CROPS) + 0.5) / CROPS:
        image = torch.from_numpy(store.batch(rng, TRAINED_CROP, [0.0])).float()
        for classes, uses in uses_by_class(model, image, int(place * (RATE_MAX + 1)), plain):
            for key in classes.items():
                counted[key] += uses
    fitted = {key: plain.fitted(uses) for key, uses in counted.items()}
    return [_with_tables(model, photos, rate, plain, fitted) for rate in RATES]


def _with_tables(
    model: ImageModel,
    photos: list[Tensor],
    rate: int,
    plain: Tables,
    fitted: dict[tuple[str, str], Tables],
) -> dict[str, float]:
    bits: dict[str, float] = defaultdict(float)
    for photo in photos:
        for classes, uses in uses_by_class(model, photo, rate, plain):
            for key in classes.items():
                counts = fitted[key].counts.astype(float)
                bits[key[0]] += float((uses * (PRECISION - np.log2(counts))).sum())
    return {kind: round(100 * (found / bits["one"] - 1), 2) for kind, found in bits.items()}


def uses_by_class(model: ImageModel, image: Tensor, r: int, tables: Tables) -> Uses:
    """For every step of a picture: its class of each kind, and the uses of the tables' entries.

    Args:
        image: (1, 3, H, W) in 0..255.
        r: rate parameter.
    """
    height, width = image.shape[2:]
    latents = model.transform.analysis(image)
    rate = model.fitted(latents, RateVector(torch.tensor([r])))
    parts = model.scale(latents, rate)
    _, chosen = walk.bits(model.prior, parts, (height, width), rate, model.strength)
    steps = walk.taught(model.prior, chosen, (height, width), rate)
    for step, symbols in zip(steps, chosen, strict=True):
        classes = {
            "one": "",
            "level": f"{(height // symbols.shape[2]).bit_length()}",
            "colour": "luma" if symbols.shape[1] == len(range(9)[LUMA]) else "chroma",
            "rate": f"{r * BANDS // (RATE_MAX + 1)}",
        }
        classes["level and colour"] = classes["level"] + classes["colour"]
        values, index, means = (
            x.permute(0, 2, 3, 1).to(dtype).contiguous().numpy().ravel()
            for x, dtype in (
                (symbols, torch.int32),
                (step.index, torch.uint8),
                (step.mean, torch.int16),
            )
        )
        encoder = rans.Encoder(tables)
        encoder.add(values, index, means, step.on_trellis)
        yield classes, encoder.uses()


def packets(model: PyramidModel, photos: list[Tensor], r: int) -> list[dict[str, float]]:
    """Change of ideal bits, in percent, at the finest level and the next."""
    transform = model.pyramid
    noise = float((STEP * step_size(torch.tensor([float(r)]))).square() / 12)
    found = []
    for level in (0, 1):
        totals = np.zeros(3)
        for photo in photos:
            bands = transform.analysis(photo)[-1 - level][:, LUMA]
            split = split_2d(bands, transform.taps[level].unbind(), transform.scale[level])
            known = _ideal(bands, noise, "bands")
            predicted = _ideal(_unpredicted(bands), noise, "bands")
            totals += known, predicted, sum(_ideal(x, noise, "packets") for x in split)
        predicted, packed = (round(100 * float(x / totals[0] - 1), 2) for x in totals[1:])
        found.append({"four neighbours": predicted, "packets": packed})
    return found


def _ideal(values: Tensor, noise: float, window: str) -> float:
    """Bits of independent Gaussians at this noise, whose variances are those around them."""
    size = WINDOWS[window]
    around = F.pad(values.square(), (size // 2,) * 4, mode="reflect")
    variances = F.avg_pool2d(around, size, 1)
    return float((0.5 * torch.log2((variances / noise).clamp(min=1))).sum())


def _unpredicted(values: Tensor) -> Tensor:
    """What the best linear prediction from four causal neighbours leaves of each plane."""
    padded = F.pad(values, (1, 1, 1, 1))
    rows = padded[..., :-2, :], padded[..., 1:-1, :]
    near = [rows[0][..., :-2], rows[0][..., 1:-1], rows[0][..., 2:], rows[1][..., :-2]]
    x = torch.stack(near, -1).flatten(2, 3).double()
    y = values.flatten(2)[..., None].double()
    rest: Tensor = y - x @ torch.linalg.lstsq(x, y).solution
    return rest.float().reshape(values.shape)


def towards(
    model: ImageModel, image: Tensor, rate: RateVector, share: float
) -> tuple[Tensor, Tensor]:
    """Bits and decoded picture, when a share of restoration's correction is taken off before."""
    assert model.restoration is not None
    fitted = model.fitted(model.transform.analysis(image), rate)

    def coded(target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = model.scale(model.transform.analysis(target), fitted)
        bits, chosen = walk.bits(model.prior, parts, (CROP, CROP), fitted, model.strength)
        plain = model.synthesised(model.prior.merge(chosen, (CROP, CROP)), fitted)
        assert model.restoration is not None
        return bits, plain, model.restoration(plain, fitted)

    bits, plain, restored = coded(image)
    if share:
        bits, _, restored = coded(image - share * (restored - plain))
    return bits, restored


if __name__ == "__main__":
    main()
