"""LPIPS against the published example, and its networks against their description."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pliant.errors import DamagedError, MissingError, UsageError
from pliant.evaluation import metrics, perceptual
from pliant.evaluation.pixels import Pixels, as_rgb

PARAMETERS = {"squeeze": 722_496, "alex": 2_469_696, "vgg": 14_714_688}
# (padding, stride, pooling before it: size and stride) of the convolutions of the plain networks.
ALEX = ((2, 4, None), (2, 1, (3, 2)), (1, 1, (3, 2)), (1, 1, None), (1, 1, None))
VGG = tuple((1, 1, (2, 2) if index in (2, 4, 7, 10) else None) for index in range(13))
VGG_TAPS = (1, 3, 6, 9, 12)


@pytest.fixture(scope="session")
def published(shared_data: Path) -> Path:
    folder = shared_data / "weights"
    if not (folder / perceptual.HEADS_FILE).is_file():
        pytest.skip(f"no LPIPS weights in {folder}")
    return folder


def patch(folder: Path, name: str) -> Pixels:
    return np.asarray(Image.open(folder / f"ex_{name}.png").convert("RGB"))


@pytest.mark.parametrize(
    "a,b,expected", [("ref", "p0", 0.711211), ("ref", "p1", 0.147935), ("p0", "p1", 0.727971)]
)
def test_published_example(published: Path, a: str, b: str, expected: float) -> None:
    x, y = patch(published, a), patch(published, b)
    assert perceptual.lpips(x, y, weights=published) == pytest.approx(expected, abs=1e-5)
    assert perceptual.lpips(y, x, weights=published) == pytest.approx(expected, abs=1e-5)
    assert perceptual.lpips(x, x, weights=published) == 0


def test_layers_of_the_published_example(published: Path) -> None:
    reference = patch(published, "ref")
    found = perceptual.lpips_layers(reference, patch(published, "p1"), weights=published)
    expected = (0.01671, 0.00360, 0.01452, 0.03692, 0.02952, 0.02236, 0.02430)
    assert found == pytest.approx(expected, abs=1e-5)


def test_weights_from_the_environment(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(perceptual.VARIABLE, str(published))
    metric = metrics.METRICS["lpips_squeeze"]
    metric.check()
    value = metric.compute(patch(published, "ref"), patch(published, "p0"))
    assert value == pytest.approx(0.711211, abs=1e-5)


# --- with weights of our own --------------------------------------------------------------------


def random_state(net: str) -> dict[str, Tensor]:
    """Random convolutions under torchvision's names."""
    generator = torch.Generator().manual_seed(len(net))
    return {
        f"features.{name}": torch.randn(value.shape, generator=generator)
        * (value[0].numel() ** -0.5 if value.ndim == 4 else 0.1)
        for name, value in perceptual._NETS[net].build().state_dict().items()
    }


def random_heads(net: str, widths: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(widths))
    return {f"{net}.lin{i}": torch.rand(w, generator=generator) for i, w in enumerate(widths)}


WIDTHS = {
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
}


def plain_taps(net: str, state: dict[str, Tensor], x: Tensor) -> Iterator[Tensor]:
    """The compared outputs of AlexNet or VGG-16, written down from their description."""
    weights = [value.double() for value in state.values()]
    layers = ALEX if net == "alex" else VGG
    for index, (padding, stride, pool) in enumerate(layers):
        if pool:
            x = functional.max_pool2d(x, *pool)
        kernel, bias = weights[2 * index : 2 * index + 2]
        x = functional.conv2d(x, kernel, bias, stride, padding).relu()
        if net == "alex" or index in VGG_TAPS:
            yield x


def squeeze_taps(state: dict[str, Tensor], x: Tensor) -> Iterator[Tensor]:
    def conv(name: str, x: Tensor, **options: int) -> Tensor:
        weight, bias = (state[f"features.{name}.{part}"].double() for part in ("weight", "bias"))
        return functional.conv2d(x, weight, bias, **options).relu()

    yield (x := conv("0", x, stride=2))
    for block in (3, 4, 6, 7, 9, 10, 11, 12):
        if block in (3, 6, 9):
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        narrow = conv(f"{block}.squeeze", x)
        sides = conv(f"{block}.expand1x1", narrow), conv(f"{block}.expand3x3", narrow, padding=1)
        x = torch.cat(sides, 1)
        if block not in (3, 6):
            yield x


def independent(
    net: str, state: dict[str, Tensor], heads: dict[str, Tensor], *pair: Pixels
) -> float:
    """LPIPS in double precision, one picture at a time."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    taps = []
    for pixels in pair:
        x = torch.tensor(pixels).double() / 255 * 2 - 1
        x = ((x - shift) / scale).permute(2, 0, 1)[None]
        found = squeeze_taps(state, x) if net == "squeeze" else plain_taps(net, state, x)
        taps.append([y[0] / (y[0].norm(dim=0) + 1e-10) for y in found])
    total = 0.0
    for index, (a, b) in enumerate(zip(*taps, strict=True)):
        weighted = heads[f"{net}.lin{index}"].double()[:, None, None] * (a - b) ** 2
        total += float(weighted.sum(0).mean())
    return total


def write(folder: Path, net: str, state: dict[str, Tensor], heads: dict[str, Tensor]) -> None:
    """The files of `net`, each network in another of the formats."""
    if net == "squeeze":
        arrays = {name: value.numpy() for name, value in state.items()}
        np.savez(folder / "squeezenet1_1.npz", **arrays)
    elif net == "alex":
        torch.save(state | {"classifier.1.weight": torch.ones(1)}, folder / "alexnet-owt.pth")
    else:
        safetensors.torch.save_file(state, folder / "vgg16.safetensors")
    if net == "alex":
        linear = {
            f"{name.partition('.')[2]}.model.1.weight": v.reshape(1, -1, 1, 1)
            for name, v in heads.items()
        }
        torch.save(linear, folder / "alex.pth")
    else:
        np.savez(folder / perceptual.HEADS_FILE, **{n: v.numpy() for n, v in heads.items()})


@pytest.mark.parametrize("net", perceptual.NETS)
def test_networks_equal_their_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Pixels, net: str
) -> None:
    monkeypatch.setenv(perceptual.UNCHECKED, "1")
    state, heads = random_state(net), random_heads(net, WIDTHS[net])
    assert sum(value.numel() for value in state.values()) == PARAMETERS[net]
    write(tmp_path, net, state, heads)
    pair = photo[:52, :67], photo[100:152, 100:167]  # every pooling has a remainder
    expected = independent(net, state, heads, *pair)
    assert perceptual.lpips(*pair, net, tmp_path) == pytest.approx(expected, rel=1e-4)
    perceptual._load.cache_clear()  # the files go with the test


def test_one_file_smallest_picture_and_grey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Pixels
) -> None:
    monkeypatch.setenv(perceptual.UNCHECKED, "1")
    whole = tmp_path / "all.safetensors"
    safetensors.torch.save_file(
        random_state("squeeze") | random_heads("squeeze", WIDTHS["squeeze"]), whole
    )
    grey, other = photo[:32, :32, 0], photo[50:82, 50:82, 0]
    value = perceptual.lpips(grey, other, "squeeze", whole)
    assert value > 0
    assert perceptual.lpips(as_rgb(grey), as_rgb(other), "squeeze", whole) == value
    with pytest.raises(ValueError, match="32"):
        perceptual.lpips(grey[:31], other[:31], "squeeze", whole)


# --- what is refused ----------------------------------------------------------------------------


def test_unknown_and_absent_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(perceptual.VARIABLE, raising=False)
    monkeypatch.delenv(perceptual.UNCHECKED, raising=False)
    with pytest.raises(UsageError, match="'resnet'"):
        perceptual.backbone("resnet")
    with pytest.raises(MissingError, match=perceptual.VARIABLE):
        perceptual.backbone("squeeze")
    with pytest.raises(MissingError, match="vgg16"):
        perceptual.backbone("vgg", tmp_path)
    heads = random_heads("squeeze", WIDTHS["squeeze"])
    write(tmp_path, "squeeze", random_state("squeeze"), heads)
    with pytest.raises(MissingError, match=perceptual.UNCHECKED):
        perceptual.backbone("squeeze", tmp_path)
    (tmp_path / perceptual.HEADS_FILE).unlink()
    with pytest.raises(MissingError, match=perceptual.HEADS_FILE):
        perceptual.backbone("squeeze", tmp_path)


class _Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (self.target,)  # type: ignore[return-value]


def test_wrong_and_hostile_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(perceptual.UNCHECKED, "1")
    file = tmp_path / "weights.npz"
    state = random_state("squeeze") | random_heads("squeeze", WIDTHS["squeeze"])
    np.savez(file, **{name: value.numpy() for name, value in list(state.items())[:-1]})
    with pytest.raises(DamagedError, match=r"lack squeeze\.lin6"):
        perceptual.backbone("squeeze", file)
    state["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    safetensors.torch.save_file(state, tmp_path / "shape.safetensors")
    with pytest.raises(DamagedError, match="size mismatch"):
        perceptual.backbone("squeeze", tmp_path / "shape.safetensors")
    bomb = tmp_path / "bomb.pth"
    bomb.write_bytes(pickle.dumps(_Bomb(tmp_path / "run")))
    with pytest.raises(DamagedError, match="cannot be read"):
        perceptual.backbone("squeeze", bomb)
    assert not (tmp_path / "run").exists()
