"""Learned codecs of CompressAI, with weights that the user has, or random ones for timing.

    compressai:mbt2018-mean@weights=FOLDER     checkpoints named as in its zoo, one per quality
    compressai:mbt2018-mean@weights=random     the released sizes: speeds only, no pictures
    compressai:mbt2018-mean@weights=random,deviation=0.4    the same at another rate

CompressAI asks for an older NumPy than it needs and for a torchvision that its image codecs do not
use, so the extra `peers` cannot name it: `INSTALL` has both commands.

A file is a header (quality, number of streams, width, height, shape of the coarsest latent), the
lengths of all streams but the last, and the streams. Pictures are padded with black to multiples of
64, centred, as CompressAI does when it evaluates.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import struct
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pliant.errors import MissingError, UsageError
from pliant.evaluation.codecs.base import Coder, Family, Option, Options, Request
from pliant.evaluation.metrics import Pixels

INSTALL = "pip install 'pliant[peers]' && pip install --no-deps 'compressai>=1.2.8'"
RANDOM = "random"
# The number of qualities in the zoo, and the lowest of each size of network.
ARCHITECTURES = {
    "bmshj2018-factorized": (8, (1, 6)),
    "bmshj2018-hyperprior": (8, (1, 6)),
    "mbt2018-mean": (8, (1, 5)),
    "mbt2018": (8, (1, 5)),
    "cheng2020-anchor": (6, (1, 4)),
    "cheng2020-attn": (6, (1, 4)),
}
_HEADER = struct.Struct("<BBHHHH")
_MULTIPLE = 64
# Standard deviation of the latents of random models, and so their rate: at 1, two bits each, 1 to
# 2.6 bpp in all. The factorised model, whose tables stay wide, spends 4 to 7.
_DEVIATION = "1"


@dataclass(frozen=True)
class _Zoo:
    """One architecture with the checkpoint of each quality; None stands for random weights.

    deviation: of the latents, with random weights.
    """

    architecture: str
    checkpoints: dict[int, Path | None]
    threads: int
    deviation: float

    def _network(self, quality: int) -> Any:
        import torch

        torch.set_num_threads(self.threads)
        return network(self.architecture, quality, self.checkpoints[quality], self.deviation)

    def encode(self, pixels: Pixels, quality: float) -> bytes:
        """The file of a picture, at the nearest quality that there is."""
        import torch

        nearest = min(self.checkpoints, key=lambda known: abs(known - quality))
        height, width = pixels.shape[:2]
        x = torch.from_numpy(_pad(pixels)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            packed = self._network(nearest).compress(x)
        streams = [batch[0] for batch in packed["strings"]]
        header = _HEADER.pack(nearest, len(streams), width, height, *packed["shape"])
        lengths = (struct.pack("<I", len(stream)) for stream in streams[:-1])
        return b"".join((header, *lengths, *streams))

    def decode(self, data: bytes) -> Pixels:
        """The picture of a file."""
        import torch

        quality, count, width, height, *shape = _HEADER.unpack_from(data)
        lengths = struct.unpack_from(f"<{count - 1}I", data, _HEADER.size)
        start, streams = _HEADER.size + 4 * len(lengths), []
        for length in (*lengths, len(data)):
            streams.append([data[start : start + length]])
            start += length
        with torch.inference_mode():
            x = self._network(quality).decompress(streams, torch.Size(shape))["x_hat"][0]
        pixels = (x.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        top, left = -height % _MULTIPLE // 2, -width % _MULTIPLE // 2
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _pad(pixels: Pixels) -> Pixels:
    missing = [-side % _MULTIPLE for side in pixels.shape[:2]]
    return np.pad(pixels, [*((part // 2, part - part // 2) for part in missing), (0, 0)])


# --- networks -----------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def network(architecture: str, quality: int, checkpoint: Path | None, deviation: float) -> Any:
    """A network that is ready to code; without a checkpoint it has the released size.

    Args:
        deviation: of the latents of a network without a checkpoint.
    """
    import torch

    zoo = import_zoo()
    kind = zoo.model_architectures[architecture]
    if checkpoint:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        model = kind.from_state_dict(zoo.load_pretrained(state.get("state_dict", state))).eval()
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # encoder and decoder may be two processes
            model = kind(*zoo.cfgs[architecture][quality]).eval()
            _spread(model, deviation)
    model.update()
    return model


def _spread(model: Any, deviation: float) -> None:
    """Gives latents of random weights a real rate: this deviation, and scales that expect it.

    Untrained latents are all zero or all outside the tables, and their coder has another speed.
    """
    import torch

    with torch.inference_mode():
        y = model.g_a(torch.rand(1, 3, 256, 256))
    mean, gain = y.mean((0, 2, 3), keepdim=True), deviation / y.std((0, 2, 3), keepdim=True)
    model.g_a.register_forward_hook(lambda module, inputs, output: (output - mean) * gain)
    scales = getattr(model, "entropy_parameters", getattr(model, "h_s", None))
    if scales is not None:
        *_, bias = (parameter for name, parameter in scales.named_parameters() if "bias" in name)
        with torch.no_grad():
            bias[: y.shape[1]] += deviation  # scales come first, then means


@cache
def import_zoo() -> ModuleType:
    """`compressai.zoo.image`: networks, their sizes and what makes old checkpoints fit.

    CompressAI imports torchvision for lists of its transforms; none may be there, and one that does
    not fit the installed torch fails when it is imported.

    Raises:
        MissingError: it cannot be imported; the message says why, and how to install it.
    """
    from pliant import runtime

    runtime.prepare()
    with _empty_torchvision(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies use what torch has deprecated
        try:
            from compressai.zoo import image
        except ImportError as error:
            raise MissingError(f"CompressAI does not work here ({error}): {INSTALL}") from error
    return image  # type: ignore[no-any-return]


@contextlib.contextmanager
def _empty_torchvision() -> Iterator[None]:
    """Empty modules in the place of torchvision, unless it has been imported already."""
    if "torchvision" in sys.modules:
        yield
        return
    package, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
    package.transforms = transforms  # type: ignore[attr-defined]
    stand_ins = {module.__name__: module for module in (package, transforms)}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


# --- checkpoints --------------------------------------------------------------------------------


def checkpoints(architecture: str, where: Path, metric: str) -> dict[int, Path]:
    """The checkpoints by quality: a folder's, or the one file's.

    Names are those of CompressAI's zoo (`mbt2018-mean-4-8a9b4d3a.pth.tar`, `-ms-ssim` before the
    quality where that was trained for); the hash may be left out.

    Raises:
        MissingError: there is none.
    """
    name = re.compile(
        rf"{architecture}(?:-prior)?(?P<metric>-mse|-ms-ssim)?-(?P<quality>\d)"
        r"(?:-[0-9a-f]{8})?\.pth(?:\.tar)?"
    )
    found = {}
    for path in sorted(where.iterdir()) if where.is_dir() else [where]:
        match = name.fullmatch(path.name.replace("_", "-"))
        if match and path.is_file() and (match["metric"] or "-mse") == f"-{metric}":
            found[int(match["quality"])] = path
    if not found:
        raise MissingError(
            f"no {metric} weights of {architecture} in {where}; they must be named as in "
            f"CompressAI's zoo, like {architecture}-4-0123abcd.pth.tar"
        )
    return dict(sorted(found.items()))


@cache
def _digest(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint, compared with the eight digits that its name may end in."""
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    promised = re.search(r"-([0-9a-f]{8})\.pth", checkpoint.name)
    if promised and not digest.startswith(promised[1]):
        raise MissingError(f"{checkpoint} is damaged: its SHA-256 does not start as its name says")
    return digest


# --- the row of the table -----------------------------------------------------------------------


def _compressai(request: Request) -> Coder:
    architecture, where = request.model, request.options["weights"]
    if not where:
        raise UsageError(
            f"compressai:{architecture} needs weights=PATH (a folder of its zoo's checkpoints), "
            "or weights=random for timing only"
        )
    known: dict[int, Path | None] = {}
    qualities: tuple[int, ...]
    if where == RANDOM:
        count, qualities = ARCHITECTURES[architecture]
        known.update(dict.fromkeys(range(1, count + 1)))
        origin = "random weights"
    else:
        known.update(checkpoints(architecture, Path(where), request.options["metric"]))
        qualities = tuple(known)
        digests = "".join(_digest(path) for path in known.values() if path)
        origin = f"weights {hashlib.sha256(digests.encode()).hexdigest()[:8]}"
    zoo = _Zoo(architecture, known, request.threads, _deviation(request.options))
    return Coder(
        version=f"compressai {version('compressai')}, torch {version('torch')}, {origin}",
        encode=zoo.encode,
        decode=zoo.decode,
        timing_only=where == RANDOM,
        note="Random weights: only its speed means something." if where == RANDOM else "",
        qualities=tuple(map(float, qualities)),
        search=tuple(map(float, known)),
    )


def _deviation(options: Options) -> float:
    with contextlib.suppress(ValueError):
        deviation = float(options["deviation"])
        if 0 < deviation < math.inf:
            return deviation
    raise UsageError(f"compressai, option deviation: {options['deviation']!r} is not above 0")


def _label(model: str, options: Options) -> str:
    remarks = ["CompressAI"]
    if options["metric"] != "mse":
        remarks.append(f"for {options['metric']}")
    if options["weights"] == RANDOM:
        remarks.append("random weights, timing only")
    return f"{model} ({', '.join(remarks)})"


def _missing() -> str | None:
    absent = [name for name in ("compressai", "torch_geometric") if find_spec(name) is None]
    return f"CompressAI is not installed: {INSTALL}" if absent else None


COMPRESSAI = Family(
    name="compressai",
    label=_label,
    extension="cai",
    colour=lambda options: "RGB in, RGB out.",
    make=_compressai,
    missing=_missing,
    qualities=(),
    options={
        "weights": Option(""),
        "metric": Option("mse", ("mse", "ms-ssim")),
        "deviation": Option(_DEVIATION),
    },
    has_models=True,
    models=tuple(ARCHITECTURES),
    threaded=True,
)
