"""LPIPS v0.1, and the networks behind it.

Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018. The weights are not part of Pliant. `PLIANT_LPIPS_WEIGHTS` names a
folder (or one file that has everything) with, for each network that is wanted:

* the convolutions, under torchvision's names (`features.0.weight`, …), in a file whose name begins
  with `squeezenet1_1`, `alexnet` or `vgg16`: torchvision's own file, or an .npz or .safetensors;
* the linear layers, in `lpips_lin_v0.1.npz` (`squeeze.lin0`, …), or in `squeeze.pth`, `alex.pth`,
  `vgg.pth` of the authors.

Files that are not known by their SHA-256 are refused unless `PLIANT_LPIPS_UNCHECKED=1` is set.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from pliant.errors import DamagedError, MissingError, UsageError
from pliant.evaluation.pixels import Pixels, as_rgb, check_pair

VARIABLE, UNCHECKED = "PLIANT_LPIPS_WEIGHTS", "PLIANT_LPIPS_UNCHECKED"
HEADS_FILE = "lpips_lin_v0.1.npz"
MIN_SIDE = 32  # below it the deepest layers have no position left

# SHA-256, or its first eight digits, which is what torchvision puts into the names of its files.
_KNOWN = (
    "dfe39950d126a66f6cf47dcf667149b7999d2cab58279680ff97b9ed44c19786",  # squeezenet1_1, fp16 .npz
    "b8a52dc0",  # squeezenet1_1-b8a52dc0.pth
    "7be5be79",  # alexnet-owt-7be5be79.pth
    "397923af",  # vgg16-397923af.pth
    "5e3353f7ac31db063eda74ca1cd1669022a171eb6721f73687d5f86c9f95dcc1",  # all linear layers, .npz
    "4a5350f2",  # linear layers of the authors: squeeze.pth
    "df73285e",  # alex.pth
    "a78928a0",  # vgg.pth
)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10

State: TypeAlias = dict[str, Tensor]


# --- the networks -------------------------------------------------------------------------------


class _Fire(nn.Module):
    """The building block of SqueezeNet: few channels, then 1x1 and 3x3 kernels side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


def _squeezenet() -> nn.Sequential:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()),
        *(_Fire(64, 16, 64), _Fire(128, 16, 64), pool()),
        *(_Fire(128, 32, 128), _Fire(256, 32, 128), pool()),
        *(_Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256)),
    )


def _alexnet() -> nn.Sequential:
    """The variant without local response normalisation and groups, up to its last convolution."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


def _vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        layers += [nn.MaxPool2d(2)] if layers else []
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class _Net:
    """`taps` are the indices of the layers whose output is compared."""

    file: str
    build: Callable[[], nn.Sequential]
    taps: tuple[int, ...]


_NETS = {
    "squeeze": _Net("squeezenet1_1", _squeezenet, (1, 4, 7, 9, 10, 11, 12)),
    "alex": _Net("alexnet", _alexnet, (1, 4, 7, 9, 11)),
    "vgg": _Net("vgg16", _vgg16, (3, 8, 15, 22, 29)),
}
NETS = tuple(_NETS)


# --- their weights ------------------------------------------------------------------------------


def find_weights(net: str, weights: Path | None = None) -> tuple[Path, ...]:
    """The files with the convolutions and the linear layers of a network.

    Args:
        net: one of `NETS`.
        weights: folder or file; the one that `PLIANT_LPIPS_WEIGHTS` names if it is left out.

    Raises:
        MissingError: nothing is named, or nothing is there.
    """
    if net not in _NETS:
        raise UsageError(f"unknown network {net!r}; known: {', '.join(NETS)}")
    if weights is None and not os.environ.get(VARIABLE):
        raise MissingError(f"the network {net} needs weights: set {VARIABLE} to their folder")
    place = Path(os.environ[VARIABLE]) if weights is None else weights
    if place.is_file():
        return (place,)
    convolutions = sorted(place.glob(f"{_NETS[net].file}*"))
    heads = [path for path in (place / HEADS_FILE, place / f"{net}.pth") if path.is_file()]
    if not (convolutions and heads):
        lacking = f"{HEADS_FILE} or {net}.pth" if convolutions else f"{_NETS[net].file}*"
        raise MissingError(f"the network {net} needs {lacking} in {place}")
    return convolutions[0], heads[0]


def backbone(net: str, weights: Path | None = None) -> nn.Sequential:
    """The convolutions of a network with their weights; it takes what `normalised` returns.

    Raises:
        MissingError: as `find_weights`, or a file is not a known one.
        DamagedError: a file cannot be read, or holds something else.
    """
    return _load(net, find_weights(net, weights), _unchecked())[0]


def normalised(pixels: Sequence[Pixels]) -> Tensor:
    """Pictures of equal size as (N, 3, H, W): 8 bit to [-1, 1], then shifted and scaled."""
    images = torch.from_numpy(np.stack([as_rgb(p) for p in pixels])).permute(0, 3, 1, 2).float()
    shift, scale = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (_SHIFT, _SCALE))
    return (images / 127.5 - 1 - shift) / scale


def _unchecked() -> bool:
    return os.environ.get(UNCHECKED) == "1"


@lru_cache(maxsize=len(NETS))
def _load(
    net: str, files: tuple[Path, ...], unchecked: bool
) -> tuple[nn.Sequential, tuple[Tensor, ...]]:
    state: State = {}
    for path in files:
        state |= _read(path, net, unchecked)
    network = _NETS[net].build()
    wanted = {f"features.{name}" for name in network.state_dict()}
    heads = [f"{net}.lin{index}" for index in range(len(_NETS[net].taps))]
    lacking = sorted((wanted | set(heads)) - state.keys())
    if lacking:
        raise DamagedError(f"the weights of {net} lack {lacking[0]} and {len(lacking) - 1} more")
    try:
        network.load_state_dict({name[9:]: state[name] for name in wanted})
    except RuntimeError as error:
        raise DamagedError(f"the weights are not those of {net}: {error}") from error
    return network.requires_grad_(False).eval(), tuple(state[name] for name in heads)


def _read(path: Path, net: str, unchecked: bool) -> State:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if not unchecked and not digest.startswith(_KNOWN):
        raise MissingError(
            f"{path} is no published weight file (its SHA-256 begins with {digest[:16]});"
            f" set {UNCHECKED}=1 to use it all the same"
        )
    try:
        return dict(_renamed(_tensors(data, path.suffix), net))
    except Exception as error:  # readers of foreign formats raise almost anything
        raise DamagedError(f"{path} cannot be read as weights: {error}") from error


def _tensors(data: bytes, suffix: str) -> State:
    if suffix == ".npz":
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: torch.from_numpy(array) for name, array in arrays.items()}
    if suffix == ".safetensors":
        return safetensors.torch.load(data)
    loaded: State = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return loaded


def _renamed(state: State, net: str) -> Iterator[tuple[str, Tensor]]:
    """Linear layers under one name and as vectors, wherever they come from."""
    for name, tensor in state.items():
        found = re.fullmatch(r"(?:(\w+)\.)?(lin\d)(?:\.model\.1\.weight)?", name)
        if found:
            yield f"{found[1] or net}.{found[2]}", tensor.float().flatten()
        else:
            yield name, tensor.float()


# --- the metric ---------------------------------------------------------------------------------


def lpips(
    reference: Pixels, image: Pixels, net: str = "squeeze", weights: Path | None = None
) -> float:
    """Learned perceptual distance: 0 for equal pictures, larger is worse; equation 1 of the paper.

    The float32 activations of both pictures are held at once: with `squeeze` about 0.4 KB per
    pixel, with `vgg` four times as much.

    Args:
        net: one of `NETS`; values of different networks cannot be compared.
        weights: as for `find_weights`.

    Raises:
        ValueError: a side is below 32 pixels.
        MissingError, DamagedError: as `backbone`.
    """
    return sum(lpips_layers(reference, image, net, weights))


def lpips_layers(
    reference: Pixels, image: Pixels, net: str = "squeeze", weights: Path | None = None
) -> tuple[float, ...]:
    """The contribution of each compared layer; `lpips` is their sum."""
    check_pair(reference, image)
    if min(reference.shape[:2]) < MIN_SIDE:
        raise ValueError(f"LPIPS needs both sides >= {MIN_SIDE} pixels")
    network, heads = _load(net, find_weights(net, weights), _unchecked())
    remaining = iter(heads)
    found = []
    with torch.inference_mode():
        pair = normalised([reference, image])
        for index, layer in enumerate(network):
            pair = layer(pair)
            if index in _NETS[net].taps:
                unit = pair / (pair.square().sum(1, keepdim=True).sqrt() + _EPSILON)
                difference = (unit[0] - unit[1]).square().mean((1, 2))
                found.append(float(difference @ next(remaining)))
    return tuple(found)
