"""Estimated rate and PSNR on photos that take no part in training, and their plot."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pliant.errors import MissingError, PliantError
from pliant.image import decoding
from pliant.layers.exact import RateVector
from pliant.models.base import ImageModel
from pliant.training.data import list_images

RATES = (384, 768, 1152, 1472, 1792)
PHOTOS = 6
LARGEST = 768  # pixels; larger photos give their centre
HISTORY = "validation.jsonl"

Points = list[tuple[float, float]]


class Validation:
    """Measures a model on the first photos of a folder.

    Raises:
        UsageError: the folder holds none.
    """

    def __init__(self, folder: str) -> None:
        self.photos = [_centre(path) for path in list_images([folder])[:PHOTOS]]

    def points(self, model: ImageModel) -> Points:
        """Mean (bpp, PSNR) over the photos at each of `RATES`, fine rates first."""
        points: Points = []
        with _ready(model):
            for rate in RATES[:1] if model.single_rate else RATES:
                found = [measure(model, photo, rate) for photo in self.photos]
                bpp, psnr = np.mean(found, axis=0).tolist()
                points.append((round(bpp, 4), round(psnr, 3)))
        return points


@torch.no_grad()
def measure(model: ImageModel, photo: NDArray[np.uint8], rate: float) -> tuple[float, float]:
    """Estimated bpp and the PSNR of the decoded picture (H, W, 3)."""
    device = next(model.parameters()).device
    height, width = photo.shape[:2]
    original = torch.from_numpy(photo).permute(2, 0, 1)[None].to(device).float()
    vector = RateVector(torch.tensor([float(rate)], dtype=torch.float64, device=device))
    bits, decoded = model.round_trip(model.pad(original), vector, model.strength)
    error = decoded[:, :, :height, :width].clamp(0, 255).round() - original
    mse = max(float(error.double().square().mean()), 1e-10)
    return float(bits) / (height * width), 10 * math.log10(255**2 / mse)


def line(points: Points) -> str:
    """The points as text for the log."""
    return " | ".join(f"{bpp:.3f} bpp {psnr:.2f} dB" for bpp, psnr in points)


def record(folder: Path, step: int, minutes: float, points: Points) -> None:
    """Adds one measurement to the history in a run folder."""
    entry = {"step": step, "minutes": round(minutes, 2), "points": points}
    with (folder / HISTORY).open("a") as file:
        file.write(json.dumps(entry) + "\n")


def plot(folder: Path, title: str) -> None:
    """Draws the history of a run folder as rd.png and rd.svg: the last curve strong, others faint.

    Raises:
        MissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingError("the plot needs matplotlib: pip install 'pliant[train]'") from error
    entries = [json.loads(text) for text in (folder / HISTORY).read_text().splitlines()]
    by_step = {entry["step"]: entry for entry in entries}  # a resumed run repeats steps
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for number, step in enumerate(sorted(by_step), 1):
        bpp, psnr = zip(*by_step[step]["points"], strict=True)
        last = number == len(by_step)
        style: dict[str, Any] = {"marker": "o", "label": f"step {step}"} if last else {"alpha": 0.3}
        axes.plot(bpp, psnr, color="C0", **style)
    axes.set_xscale("log")
    axes.set_xlabel("estimated bits per pixel")
    axes.set_ylabel("PSNR (RGB), dB")
    axes.set_title(title)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"rd.{suffix}", dpi=130)


def _centre(path: Path) -> NDArray[np.uint8]:
    try:
        with decoding(), Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except PliantError as error:
        raise type(error)(f"{path}: {error}") from error
    height, width = (min(n, LARGEST) for n in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width].copy()


@contextlib.contextmanager
def _ready(model: ImageModel) -> Iterator[None]:
    """Evaluation mode and exact arithmetic."""
    mode, dtype = model.training, model.dtype
    model.eval()
    model.dtype = torch.float32
    try:
        yield
    finally:
        model.train(mode)
        model.dtype = dtype
