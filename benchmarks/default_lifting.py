"""What learned lifting, and couplings on the coarse levels, gain in the default model's transform.

    python benchmarks/default_lifting.py lifting DATA/train DATA/train-lossless --valid DATA/valid

After a level's linear lifting its low band predicts the details, and these update the low band, by
networks of three convolutions that start as zero; what is subtracted or multiplied before coding is
undone after it. Everything else stays as it is: prior, tables, restoration. Two kinds:

* lifting: on the two finest levels; sums alone.
* couplings: on the three coarsest; sums and factors between 1/2 and 2, two rounds.

Networks know the quantiser's step. Their rate is that of latents with uniform noise of a step under
the distributions that the prior gives for the symbols chosen by the encoder's search; error passes
the quantiser straight through. Both are weighted as that search weighs them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import environment
import numpy as np
import torch
from default_encoder import RATES, curve, percent
from default_trials import centres
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.exact import RateVector
from pliant.layers.lifting import merge_2d, split_2d
from pliant.layers.quantize import BITS_PER_SQUARED_STEP, MEAN_UNIT, laplace_bits, step_size
from pliant.models import registry
from pliant.models.pyramid import PyramidModel
from pliant.priors import walk
from pliant.training.data import PhotoStore, cache_folder
from pliant.transforms.colour import turned
from pliant.transforms.pyramid import LEVELS
from pliant.units import RATE_MAX


class Kind(NamedTuple):
    """Which levels, finest 0, get networks of what width, how often, and whether with factors."""

    levels: tuple[int, ...]
    width: int
    rounds: int
    affine: bool


KINDS = {"lifting": Kind((0, 1), 32, 1, False), "couplings": Kind((2, 3, 4), 64, 2, True)}
CROP, BATCH = 256, 4
UNIT = 8.0  # levels of brightness; larger inputs are companded
LOW, DETAILS = 3, 9  # planes
RESULT = environment.RESULTS / "default-lifting.json"


class Coupling(nn.Module):
    """One of both parts of a level from the other: a sum, and a factor if `affine`."""

    def __init__(self, known: int, changed: int, width: int, affine: bool) -> None:
        super().__init__()
        self.affine = affine
        last = nn.Conv2d(width, changed * (1 + affine), 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.layers = nn.Sequential(
            nn.Conv2d(known + 1, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            last,
        )

    def forward(self, known: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """(what to subtract, what to multiply by)."""
        local = known - F.avg_pool2d(known, 5, 1, 2, count_include_pad=False)
        fineness = torch.log2(step / UNIT).expand_as(local[:, :1])
        out = self.layers(torch.cat([torch.asinh(local / UNIT), fineness], 1))
        if not self.affine:
            return out * UNIT, torch.ones(())
        subtracted, exponent = out.chunk(2, 1)
        return subtracted * UNIT, torch.exp2(torch.tanh(exponent))


class Lifted(nn.Module):
    """The pyramid with couplings after the linear lifting of some levels."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        levels, width, rounds, affine = KINDS[kind]
        self.levels = nn.ModuleDict(
            {
                str(level): nn.ModuleList(
                    net
                    for _ in range(rounds)
                    for net in (
                        Coupling(LOW, DETAILS, width, affine),
                        Coupling(DETAILS, LOW, width, affine),
                    )
                )
                for level in levels
            }
        )

    def nets(self, level: int) -> list[nn.Module]:
        """Predict, update, predict, ... of a level."""
        name = str(level)
        return list(self.levels[name].children()) if name in self.levels else []

    def macs_per_pixel(self) -> float:
        """Multiplications per pixel of the picture; a level's grid halves both its sides."""
        found: float = sum(
            layer.weight.numel() / 4 ** (int(level) + 1)
            for level, nets in self.levels.items()
            for layer in nets.modules()
            if isinstance(layer, nn.Conv2d)
        )
        return found

    def analysis(self, model: PyramidModel, image: Tensor, step: Tensor) -> list[Tensor]:
        """As `PyramidTransform.analysis`, for a quantiser's step."""
        pyramid = model.pyramid
        latents: list[Tensor] = []
        low = turned(image - 128.0, pyramid.colour)
        for level in range(LEVELS):
            low, details = split_2d(low, pyramid.taps[level].unbind(), pyramid.scale[level])
            for i, net in enumerate(self.nets(level)):
                subtracted, factor = net(details if i % 2 else low, step)
                if i % 2:
                    low = (low - subtracted) * factor
                else:
                    details = (details - subtracted) * factor
            latents.insert(0, details)
        return [low, *latents]

    def synthesis(self, model: PyramidModel, latents: Sequence[Tensor], step: Tensor) -> Tensor:
        """Inverse of `analysis`."""
        pyramid, low = model.pyramid, latents[0]
        for level, given in zip(range(LEVELS - 1, -1, -1), latents[1:], strict=True):
            details, nets = given, self.nets(level)
            for i, net in reversed(list(enumerate(nets))):
                subtracted, factor = net(details if i % 2 else low, step)
                if i % 2:
                    low = low / factor + subtracted
                else:
                    details = details / factor + subtracted
            low = merge_2d(low, details, pyramid.taps[level].unbind(), pyramid.scale[level])
        return turned(low, torch.linalg.inv(pyramid.colour)) + 128.0


def coded(
    lifted: Lifted, model: PyramidModel, image: Tensor, rate: RateVector
) -> tuple[Tensor, Tensor]:
    """Bits and decoded picture."""
    size, step = (image.shape[2], image.shape[3]), step_size(rate.rate)
    parts = model.scale(lifted.analysis(model, image, step), rate)
    bits, chosen = walk.bits(model.prior, parts, size, rate, model.strength)
    latents = model.unscale(model.prior.merge(chosen, size), rate)
    return bits, restored(model, lifted.synthesis(model, latents, step), rate)


def restored(model: PyramidModel, picture: Tensor, rate: RateVector) -> Tensor:
    """What the decoder makes of a synthesised picture; gradients pass in float32."""
    assert model.restoration is not None
    model.restoration.dtype = torch.float32 if torch.is_grad_enabled() else torch.uint8
    result: Tensor = model.restoration(picture, rate)
    return result


def loss(lifted: Lifted, model: PyramidModel, image: Tensor, rate: RateVector) -> Tensor:
    """Surrogate bits and weighted error of one picture, per pixel."""
    size, step = (image.shape[2], image.shape[3]), step_size(rate.rate)
    latents = lifted.analysis(model, image, step)
    parts = model.prior.split(model.scale(latents, rate))
    with torch.no_grad():
        known = [part.detach() for part in parts]
        walked = walk.walked(
            model.prior, known, size, rate, lambda s, y: s.choose(y, model.strength).float()
        )
        steps = list(walked)
        symbols = model.prior.merge([chosen for _, chosen in steps], size)
        moved = [a - b for a, b in zip(model.unscale(symbols, rate), latents, strict=True)]
    half = torch.tensor(0.5)
    bits = torch.zeros(())
    for (known_step, _), part in zip(steps, parts, strict=True):
        steps_of = part / 2 if known_step.on_trellis else part
        noisy = steps_of + torch.rand_like(part) - 0.5
        mean, index = known_step.mean.float(), known_step.index.float()
        bits = bits + laplace_bits(-half, half, mean - noisy * MEAN_UNIT, index).sum()
    decoded = [y + difference for y, difference in zip(latents, moved, strict=True)]
    picture = restored(model, lifted.synthesis(model, decoded, step), rate)
    error = (picture - image).square().sum() * float(BITS_PER_SQUARED_STEP / step**2)
    total: Tensor = (bits + error) / image[0, 0].numel()
    return total


def train(lifted: Lifted, model: PyramidModel, folders: list[str], minutes: float) -> int:
    """Trains for a time; prints the loss; returns the number of steps."""
    store, rng = PhotoStore(folders, cache_folder(), CROP), np.random.default_rng(1)
    optimiser = torch.optim.Adam(lifted.parameters(), lr=1e-3, betas=(0.9, 0.99))
    started, steps, smooth = time.monotonic(), 0, 0.0
    while (past := (time.monotonic() - started) / (60 * minutes)) < 1:
        optimiser.param_groups[0]["lr"] = 1e-3 * min(1.0, steps / 50) * min(1.0, 2.5 * (1 - past))
        images = torch.from_numpy(store.batch(rng, CROP, [0.0] * BATCH)).float()
        optimiser.zero_grad()
        total = 0.0
        for image in images.split(1):
            rate = RateVector(torch.from_numpy(rng.integers(0, RATE_MAX + 1, 1)))
            found = loss(lifted, model, image, rate) / BATCH
            found.backward()
            total += float(found.detach())
        nn.utils.clip_grad_norm_(lifted.parameters(), 1.0)
        optimiser.step()
        steps += 1
        smooth += (total - smooth) * max(0.01, 1 / steps)
        if steps % 50 == 0:
            print(f"{steps} steps, {past * minutes:.1f} minutes, loss {smooth:.4f}", flush=True)
    return steps


def main() -> None:
    """Trains one kind, measures it and adds it to the result file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("data", nargs="+", help="folders of training photos")
    parser.add_argument("--valid", type=Path, required=True, help="folder of validation photos")
    parser.add_argument("--limit", type=int, default=8, help="use the first N of these")
    parser.add_argument("--minutes", type=float, default=25)
    chosen = parser.parse_args()
    torch.manual_seed(1)
    model = registry.load().model
    assert isinstance(model, PyramidModel)
    model.requires_grad_(requires_grad=False)
    lifted = Lifted(chosen.kind)
    photos = centres(chosen.valid, chosen.limit)
    with torch.inference_mode():
        before = curve(partial(coded, lifted, model), photos)
    steps = train(lifted, model, chosen.data, chosen.minutes)
    with torch.inference_mode():
        after = curve(partial(coded, lifted, model), photos)
    found = {
        "run": environment.describe(),
        "kmac_per_pixel": round(lifted.macs_per_pixel() / 1000, 1),
        "minutes": chosen.minutes,
        "steps": steps,
        "rates": RATES,
        "photos": len(photos),
        "percent": percent(before, after),
        "before": before,
        "after": after,
    }
    print(found["percent"])
    kinds = json.loads(RESULT.read_text())["kinds"] if RESULT.exists() else {}
    environment.write(RESULT, {"kinds": kinds | {chosen.kind: found}})


if __name__ == "__main__":
    main()
