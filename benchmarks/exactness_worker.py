"""The process that `exactness.py` starts for each setting: writes files, or reads and hashes them.

    python benchmarks/exactness_worker.py '{"folder": …, "task": "write" | "read", …}'

Prints one JSON object. The folder holds the weights, the files and the streams of the control.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from exactness_job import Job
from float_prior import FloatPrior
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from pliant import container
from pliant.codec import Codec, to_tensor
from pliant.entropy import Tables, rans, reference
from pliant.errors import DamagedError
from pliant.evaluation.pictures import read_rgb
from pliant.layers import int8
from pliant.layers.exact import RateVector
from pliant.layers.quantize import MEAN_UNIT
from pliant.models import registry, weights
from pliant.models.base import ImageModel
from pliant.models.registry import Loaded
from pliant.priors import walk
from pliant.priors.walk import Prior

WEIGHTS = "weights.safetensors"
CROP = 256  # pixels, of pictures for what is slow: batches, the reference coder
DTYPES = {"int8": torch.uint8, "float32": torch.float32}
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


def digest(tensors: Sequence[Tensor]) -> str:
    """Of integers in any tensors."""
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(tensor.contiguous().numpy().astype("<i4").tobytes())
    return state.hexdigest()[:16]


def codec_of(job: Job) -> Codec:
    """The model of the folder, loaded by the registry, then put into the job's arithmetic."""
    path = Path(job.folder) / WEIGHTS
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = registry.entry(job.model)
    entry = dataclasses.replace(entry, file=WEIGHTS, sha256=sha256, folder=path.parent)
    registry.MODELS[entry.name] = entry
    loaded = registry.load(entry.name)
    loaded.model.dtype = DTYPES[job.arithmetic]
    return Codec(loaded)


def force_layout(name: str) -> None:
    """Makes every convolution get its input in one memory format, whatever the product does."""
    conv2d, run, layout = F.conv2d, int8._run, LAYOUTS[name]

    def float_conv(x: Tensor, weight: Tensor, *rest: Any, **named: Any) -> Tensor:
        weight = weight.contiguous(memory_format=layout)
        return conv2d(x.contiguous(memory_format=layout), weight, *rest, **named)

    def int8_conv(x: Tensor, *rest: Any) -> Tensor:
        return run(x.contiguous(memory_format=layout), *rest)

    setattr(F, "conv2d", float_conv)  # noqa: B010
    setattr(int8, "_run", int8_conv)  # noqa: B010


class ReferenceDecoder(reference.Decoder):
    """The plain Python decoder behind the interface of the compiled one."""

    def __init__(self, data: bytes, tables: Tables, hash_start: int) -> None:
        super().__init__(data, tables)
        self.hash = hash_start

    def read(self, scale_index: Any, mean: Any, on_trellis: bool = False) -> Any:
        symbols = super().read(scale_index.tolist(), mean.tolist(), on_trellis)
        self.hash = reference.symbol_hash(symbols, self.hash)
        return np.array(symbols, np.int32)

    def finish(self, checksum: int | None = None) -> int:
        found = super().finish()
        if checksum is not None and found != checksum:
            raise DamagedError("the symbols do not match their checksum")
        return found


def use_reference_coder() -> None:
    """Replaces the compiled decoder and hash by those in plain Python."""
    coder = SimpleNamespace(Decoder=ReferenceDecoder, HASH_START=rans.HASH_START)
    setattr(walk, "rans", coder)  # noqa: B010


@torch.inference_mode()
def received(codec: Codec, data: bytes) -> list[Tensor]:
    """What the prior's schedule receives while a file of one tile is decoded: values in 1/16."""
    found: list[Tensor] = []
    advance = walk._advance

    def record(schedule: walk.Schedule, values: Tensor) -> walk.Step | None:
        found.append((values * MEAN_UNIT).round().int())
        return advance(schedule, values)

    setattr(walk, "_advance", record)  # noqa: B010
    try:
        codec.decode_symbols(data)
    finally:
        setattr(walk, "_advance", advance)  # noqa: B010
    return found


def crop(parts: Sequence[Tensor], width: int) -> list[Tensor]:
    """The upper left corner of a picture of padded `width`, of all its steps."""
    sizes = [CROP * y.shape[3] // width for y in parts]
    return [y[:, :, :n, :n] for y, n in zip(parts, sizes, strict=True)]


@torch.inference_mode()
def tables_of(prior: Prior, parts: Sequence[Tensor], rates: Sequence[int]) -> list[str]:
    """Hashes of all tables that the prior chooses for crops that it is told, per picture."""
    schedule = prior.schedule((CROP, CROP), RateVector(torch.tensor(rates)))
    steps = [next(schedule)]
    for part in parts[:-1]:
        values = part / MEAN_UNIT
        real = steps[-1].index.is_floating_point()
        steps.append(schedule.send(values if real else values.to(torch.int32)))
    return [digest([t[b] for s in steps for t in (s.index, s.mean)]) for b in range(len(rates))]


def batched(
    prior: Prior, symbols: dict[str, list[Tensor]], rates: dict[str, int], batch: int
) -> dict[str, str]:
    """`tables_of` crops in batches; the last batch is filled up from the start."""
    names = list(symbols)
    found: dict[str, str] = {}
    for start in range(0, len(names), batch):
        group = [names[(start + i) % len(names)] for i in range(batch)]
        stacked = [torch.cat(y) for y in zip(*(symbols[n] for n in group), strict=True)]
        found.update(zip(group, tables_of(prior, stacked, [rates[n] for n in group]), strict=True))
    return found


def variants(job: Job) -> Iterator[tuple[str, Any, float]]:
    """(name, pixels, quality) of all files: whole pictures, and crops for the slow settings."""
    for path in job.pictures:
        pixels = read_rgb(Path(path))
        for quality in job.qualities:
            yield f"{Path(path).stem}-{quality:g}", pixels, quality
            yield f"{Path(path).stem}-{quality:g}-crop", pixels[:CROP, :CROP], quality


class Control:
    """An ordinary float network that codes the details of the default model's two finest levels."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(1)
        self.prior, self._folder = FloatPrior().eval(), folder
        weights_file = folder / "control.safetensors"
        if weights_file.exists():  # random numbers may depend on the setting, too
            self.prior.load_state_dict(load_file(weights_file))
        else:
            save_file(self.prior.state_dict(), weights_file)

    def write(
        self, name: str, pixels: np.ndarray, r: int, pyramid: ImageModel, tables: Tables
    ) -> None:
        """The stream of a picture, and a corner of its symbols."""
        image, rate = pyramid.pad(to_tensor(pixels)), RateVector(torch.tensor([r]))
        latents = pyramid.scale(pyramid.transform.analysis(image), rate)[-2:]
        size = image.shape[2], image.shape[3]
        stream = walk.write(self.prior, latents, size, rate, tables, 1.0)
        (self._folder / f"{name}.control").write_bytes(stream)
        symbols = walk.read(self.prior, stream, size, rate, tables)
        parts = {str(i): y.contiguous() for i, y in enumerate(crop(symbols, size[1]))}
        save_file({"size": torch.tensor(size), **parts}, self._folder / f"{name}.corner")

    def read(self, name: str, r: int, tables: Tables) -> tuple[str, list[Tensor]]:
        """Hash of the symbols of a stream, or why it cannot be read; and the corner, in 1/16."""
        corner = load_file(self._folder / f"{name}.corner")
        height, width = corner.pop("size").tolist()
        stream, rate = (
            (self._folder / f"{name}.control").read_bytes(),
            RateVector(torch.tensor([r])),
        )
        try:
            found = digest(walk.read(self.prior, stream, (height, width), rate, tables))
        except DamagedError as error:
            found = str(error)
        return found, [corner[key] * MEAN_UNIT for key in sorted(corner)]


@torch.inference_mode()
def write(job: Job, codec: Codec, pyramid: Loaded) -> dict[str, Any]:
    """Writes all files, and those of the control."""
    folder = Path(job.folder)
    control = Control(folder)
    for name, pixels, quality in variants(job):
        data = codec.encode(pixels, quality=quality)
        (folder / f"{name}.pli").write_bytes(data)
        r = container.read_header(data).rate
        control.write(name, pixels, r, pyramid.model, pyramid.tables)
    return {}


@torch.inference_mode()
def read(job: Job, codec: Codec, pyramid: Loaded) -> dict[str, Any]:
    """Reads all files and hashes symbols and tables, of the exact prior and of the control."""
    folder = Path(job.folder)
    control = Control(folder)
    exact: dict[str, str] = {}
    floating: dict[str, str] = {}
    crops: dict[str, list[Tensor]] = {}
    corners: dict[str, list[Tensor]] = {}
    rates: dict[str, int] = {}
    for path in sorted(folder.glob("*.pli")):
        name = path.stem
        if job.reference and not name.endswith("-crop"):
            continue
        header = container.read_header(path.read_bytes())
        rates[name] = header.rate
        floating[name], corners[name] = control.read(name, header.rate, pyramid.tables)
        try:
            parts = received(codec, path.read_bytes())
        except DamagedError as error:
            exact[name] = str(error)
            continue
        exact[name] = digest(parts)
        crops[name] = crop(parts, header.width + -header.width % codec.model.multiple)
    return {
        "self_check": weights.self_check(codec.model),
        "symbols": exact,
        "tables": batched(codec.model.prior, crops, rates, job.batch),
        "control symbols": floating,
        "control tables": batched(control.prior, corners, rates, job.batch),
    }


def main() -> None:
    """Runs one job."""
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    if job.layout:
        force_layout(job.layout)
    if job.reference:
        use_reference_coder()
    if not job.onednn:
        torch._C._set_mkldnn_enabled(False)
    pyramid = registry.load()
    codec = codec_of(job)
    print(json.dumps((write if job.task == "write" else read)(job, codec, pyramid)))


if __name__ == "__main__":
    main()
