r"""What two choices in the default model's design are worth: each left out of a short training.

    python benchmarks/default_design.py train VARIANT DATA/train DATA/train-lossless --output RUNS
    python benchmarks/default_design.py measure RUNS/VARIANT --data DATA/valid

* whole: the design as it is.
* four-levels: without the fifth level of the pyramid.
* apart: chroma does not see the luma that its level has coded before.

The prior is trained from random weights, the same steps for all, without restoration. Rate at equal
PSNR, estimated, on validation photos.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import environment
import learning_curve
import torch
from torch import Tensor

from pliant.evaluation.curves import Curve, bd_rate
from pliant.evaluation.pictures import images_in
from pliant.models import pyramid as model
from pliant.priors import pyramid as prior
from pliant.priors import surroundings
from pliant.training import loop, recipes
from pliant.training.checkpoint import load_weights, read_checkpoint, recipe_beside
from pliant.transforms import pyramid as transform

WHOLE, FOUR_LEVELS, APART = VARIANTS = ("whole", "four-levels", "apart")
RANGES = ((0.1, 0.5), *learning_curve.RANGES)
RESULT = environment.RESULTS / "default-design.json"
_LUMA_PASSES = 4


class Apart(surroundings._Plain):
    """Chroma's passes see nothing of the luma of their own level."""

    def _seen(self, planes: list[Tensor]) -> list[Tensor]:
        luma, rest = planes[:_LUMA_PASSES], planes[_LUMA_PASSES:]
        return [torch.zeros_like(x) for x in luma] + rest

    def around(self) -> Tensor:
        """See `Surroundings`."""
        if len(self.features) < _LUMA_PASSES:
            return super().around()
        return torch.cat([self.known[0], *self._seen(self.known[1:])], 1)

    def expect(self, spread: Tensor) -> tuple[Tensor, Tensor]:
        """See `Surroundings`."""
        scale, near = super().expect(spread)
        if len(self.features) < _LUMA_PASSES:
            return scale, near
        planes = near[:, sum(x.shape[1] for x in self.features) :]
        return scale, torch.cat([*self._seen(self.features), planes], 1)


def leave_out(variant: str) -> None:
    """Changes the design of models made and run from now on."""
    if variant == FOUR_LEVELS:
        for module in (model, prior, transform):
            vars(module)["LEVELS"] = 4
    if variant == APART:
        vars(prior)["surroundings"] = Apart


def train(variant: str, folders: list[str], output: Path, steps: int) -> None:
    """One training run; resumes."""
    leave_out(variant)
    recipe = replace(recipes.get("pyramid"), steps=steps, threads=1, lossless_share=0.0)
    loop.train(recipe, folders, output / variant, resume=True)


def measured(run: Path, data: Path, limit: int) -> Curve:
    """The mean curve of a finished run."""
    leave_out(run.name)
    found = model.PyramidModel()
    load_weights(found, read_checkpoint(run / "checkpoint.pt")["average"])
    found.restoration = None
    return learning_curve.curve(found.eval(), images_in(data)[:limit])


def measure(run: Path, data: Path, limit: int) -> None:
    """Adds a run to the result file; the whole design comes first."""
    known = json.loads(RESULT.read_text())["variants"] if RESULT.exists() else {}
    curve, trained = measured(run, data, limit), read_checkpoint(run / "checkpoint.pt")
    found = {
        "run": environment.describe(),
        "recipe": recipe_beside(run / "checkpoint.pt"),
        "steps": trained["step"],
        "minutes": round(trained["elapsed"] / 60, 1),
        "photos": limit,
        "bpp": [round(x, 4) for x in curve.bpp],
        "psnr": [round(x, 3) for x in curve.psnr],
    }
    if run.name != WHOLE:
        bpp, psnr = known[WHOLE]["bpp"], known[WHOLE]["psnr"]
        whole = Curve(tuple(bpp), {"psnr": tuple(psnr)})
        changes = [bd_rate(whole, curve, r) for r in RANGES]
        found["percent"] = [round(bd.percent, 2) if bd else None for bd in changes]
        print(run.name, found["percent"])
    environment.write(RESULT, {"ranges": RANGES, "variants": known | {run.name: found}})


def main() -> None:
    """Trains or measures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    tasks = parser.add_subparsers(dest="task", required=True)
    task = tasks.add_parser("train")
    task.add_argument("variant", choices=VARIANTS)
    task.add_argument("data", nargs="+", help="folders of training photos")
    task.add_argument("--output", type=Path, required=True, help="folder of runs")
    task.add_argument("--steps", type=int, default=2000)
    task = tasks.add_parser("measure")
    task.add_argument("run", type=Path, help="finished run; that of the whole design first")
    task.add_argument("--data", type=Path, required=True, help="folder of validation photos")
    task.add_argument("--limit", type=int, default=8, help="use the first N photos")
    chosen = parser.parse_args()
    if chosen.task == "train":
        train(chosen.variant, chosen.data, chosen.output, chosen.steps)
    else:
        measure(chosen.run, chosen.data, chosen.limit)


if __name__ == "__main__":
    main()
