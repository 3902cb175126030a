"""ILC: sizes, start, what is forgotten, gradients of its surrogate."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small_zoo import build, config_of, loaded, make
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.codec import Codec
from pliant.layers.exact import RateVector
from pliant.layers.invertible import Chain, Haar, InvertibleConv, TwoSidedCoupling
from pliant.layers.quantize import step_for
from pliant.models import registry
from pliant.models.complexity import macs_per_pixel
from pliant.models.factorized import FactorizedModel
from pliant.models.ilc import IlcModel
from pliant.training.optimiser import Optimiser

TABLE = {"widths": (128, 256, 1024), "kernels": (5, 3, 3)}
SMALL = {"widths": (32, 64), "kernels": (3, 3)}


def ilc(name: str = "ilc") -> IlcModel:
    model = make(name)
    assert isinstance(model, IlcModel)
    return model


def untrained(name: str = "ilc") -> IlcModel:
    model = build(name)
    assert isinstance(model, IlcModel)
    return model


def vector(batch: int = 1) -> RateVector:
    return RateVector(torch.zeros(batch))


def picture(pixels: Any) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()


def count(modules: list[nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    "config,parameters,work,mixing",
    [
        (TABLE | {"couplings": 1}, 35_859_824, 204.3, 629_136),
        (TABLE | {"couplings": 2}, 71_090_512, 405.5, 629_136),
        (SMALL | {"couplings": 1}, 558_704, 11.6, 39_312),
        (SMALL | {"couplings": 2}, 1_078_096, 22.5, 39_312),
    ],
)
def test_sizes(config: dict[str, Any], parameters: int, work: float, mixing: int) -> None:
    model = IlcModel(**config)
    assert count([model.flow.flow]) == parameters
    assert count([model.flow]) == parameters + model.flow.coded  # a gain for each channel of y
    assert count([m for m in model.modules() if isinstance(m, InvertibleConv)]) == mixing
    for found in macs_per_pixel(model):
        assert found == pytest.approx(1000 * work, abs=60)
    unmixed = IlcModel(**config, mixing=False)
    assert count([unmixed.flow.flow]) == parameters - mixing


def test_the_stages_of_the_paper() -> None:
    flow = IlcModel().flow
    y, z = (torch.zeros(1, c, 4, 4) for c in (256, 512))
    with torch.no_grad():
        found = flow.parts(flow.joined(y, z))
    assert [tuple(x.shape) for x in found] == [(1, 256, 4, 4), (1, 512, 4, 4)]
    couplings = [m for m in flow.modules() if isinstance(m, TwoSidedCoupling)]
    assert [c.parts for c in couplings] == [[16, 32], [64, 128], [256, 512]]
    nets = [next(c.low_scale.children()) for c in couplings]
    assert [n.kernel_size for n in nets if isinstance(n, nn.Conv2d)] == [(5, 5), (3, 3), (3, 3)]
    layers = [type(layer) for layer in flow.flow.layers]
    assert layers[:4] == [Haar, InvertibleConv, Haar, InvertibleConv]  # the first has no couplings
    assert flow.factor == 16
    assert registry.build("ilc-small").multiple == 8


def test_without_1x1_convolutions_it_starts_as_pure_haar(photo: Any) -> None:
    model, image = IlcModel(**config_of("ilc"), mixing=False), picture(photo[:64, :96])
    model.start_from_photos(image, 0.01)
    haar = Chain([Haar(), Haar(), Haar()])
    with torch.no_grad():
        y, z = model.flow.parts(image)
        expected = haar(image - 127.5)
    assert torch.allclose(y, expected[:, :64] * 8 / step_for(0.01), atol=1e-3)  # orthonormal
    assert torch.allclose(z, expected[:, 64:], atol=1e-3)
    averages = F.avg_pool2d(image - 127.5, 8)
    assert torch.allclose(y[:, :3], averages * 8 / step_for(0.01), atol=1e-3)


def test_it_starts_with_the_principal_components_of_photos(photo: Any) -> None:
    model, image = untrained(), picture(photo[:128, :192])
    model.start_from_photos(image, 0.01)
    for layer in model.flow.flow.layers:
        if isinstance(layer, InvertibleConv):
            matrix = layer.weight[:, :, 0, 0]
            assert torch.allclose(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-4)
    with torch.no_grad():
        y, z = model.flow.parts(image)
        energies = (y * step_for(0.01) / 8).square().mean((0, 2, 3))
        assert bool((energies.diff() < 1e-3 * energies[0]).all())  # strongest first
        plain = IlcModel(**config_of("ilc"), mixing=False)
        assert float(z.square().mean()) < 0.5 * float(plain.flow.parts(image)[1].square().mean())


def test_it_meets_a_latent_that_is_linear(photo: Any) -> None:
    """And of one that is always zero, the rest; the flow can be undone all the same."""
    model, image = untrained(), picture(photo[:128, :192])
    model.start_from_photos(image, 0.01)
    torch.manual_seed(3)
    with torch.no_grad():
        y, _ = model.flow.parts(image)
        turn = torch.linalg.qr(torch.randn(len(y[0]), len(y[0]))).Q
        wanted = torch.einsum("nc,bchw->bnhw", turn, y)
        wanted[:, 5] = 0
        model.flow.meet(image, wanted)
        found, z = model.flow.parts(image)
        away = (found - wanted).square().mean((0, 2, 3))
        away[5] = 0
        assert float(away.max()) < 0.02 * float(wanted.square().mean())
        assert torch.allclose(model.flow.joined(found, z), image, atol=2e-2)
        # z is made of what y cannot tell
        rows = (x.movedim(1, 0).flatten(1) for x in (found, z))
        told, rest = (x / x.norm(dim=1, keepdim=True).clamp(min=1e-6) for x in rows)
        assert float((told @ rest.T).abs().mean()) < 0.1


@pytest.mark.parametrize("name", ["ilc", "exact ilc"])
def test_the_flow_is_inverted_exactly(name: str, photo: Any) -> None:
    model, image = untrained(name).train(), picture(photo[:64, :96])
    model.start_from_photos(image, 0.01)
    assert inverted(model, image) < 1e-4
    optimiser = Optimiser(model, 1e-3, 1e-3, 2.0)
    for _ in range(4):
        bits, decoded = model.surrogate(image, vector())
        model.zero_grad()
        (bits.sum() / 64 / 96 + 0.01 * (decoded - image).square().mean()).backward()
        optimiser.step(1.0)
    assert inverted(model, image) < 1e-4
    exact = copy.deepcopy(model.flow).double()
    with torch.no_grad():
        decoded = exact.joined(*exact.parts(image.double()))
    assert float((decoded - image).abs().max()) / 255 < 1e-10


def inverted(model: IlcModel, image: Tensor) -> float:
    with torch.no_grad():
        decoded = model.flow.joined(*model.flow.parts(image))
    return float((decoded - image).abs().max()) / 255


def test_a_third_is_coded_and_the_rest_forgotten(photo: Any) -> None:
    codec = Codec(loaded("exact ilc"))
    model = codec.model
    assert isinstance(model, IlcModel)
    with torch.no_grad():
        y, z = model.flow.parts(picture(photo[:64, :96]))
        assert y.numel() == 64 * 96
        assert z.numel() == 2 * 64 * 96
        others = [model.flow.joined(y, 7 + 3 * torch.randn_like(z)) for _ in range(2)]
    # pictures with the same y and other z have the same file
    streams = [model.flow.parts(other)[0] for other in others]
    assert torch.allclose(streams[0].round(), streams[1].round())
    symbols = codec.decode_symbols(codec.encode(photo[:64, :96]))
    assert [s.shape for s in symbols] == [y.shape]
    with torch.no_grad():
        joined = model.flow.joined(symbols[0], torch.zeros_like(z))
        assert torch.equal(model.decoded(symbols, vector()), joined)


def test_distortion_goes_straight_through_and_the_rate_sees_noise(photo: Any) -> None:
    model, image = ilc(), picture(photo[:64, :64])
    y = model.flow.parts(image)[0].detach().requires_grad_(True)
    bits, decoded = model.surrogate_of([y], (64, 64), vector())
    (found,) = torch.autograd.grad(decoded.square().sum(), y, retain_graph=True)
    step = next(model.prior.schedule((64, 64), vector()))
    rounded = step.choose(y.detach(), 0.0).requires_grad_(True)
    expected = model.decoded([rounded], vector())
    (direct,) = torch.autograd.grad(expected.square().sum(), rounded)
    assert torch.allclose(decoded, expected, atol=1e-3)
    assert torch.allclose(found, direct, rtol=1e-3, atol=1e-3 * float(direct.abs().max()))
    (of_rate,) = torch.autograd.grad(bits.sum(), y)
    assert float(of_rate.abs().sum()) > 0
    again, _ = model.surrogate_of([y], (64, 64), vector())
    assert float(again.detach()) != float(bits.detach())


def test_teachers_have_latents_of_the_same_shape() -> None:
    for student, teacher in (("ilc-small", "ilc-teacher-small"), ("ilc", "ilc-teacher")):
        one, other = registry.build(student), registry.build(teacher)
        assert isinstance(one, IlcModel)
        assert isinstance(other, FactorizedModel)
        image = torch.zeros(1, 3, 64, 64)
        with torch.no_grad():
            shapes = [m.transform.analysis(image)[0].shape for m in (one, other)]
        assert shapes[0] == shapes[1]


def test_an_exact_prior_starts_with_the_spread_of_photos(photo: Any) -> None:
    image, other = picture(photo[:128, :128]), picture(photo[150:278, 200:328])
    model = untrained("exact ilc")
    plain = build("exact ilc")
    model.start_from_photos(image, 0.1)
    plain.load_state_dict({**plain.state_dict(), **flow_of(model)})
    with torch.no_grad():
        bits = [float(m.round_trip(other, vector(), 0.0)[0]) for m in (model, plain)]
        spread = model.flow.parts(image)[0].abs().mean((0, 2, 3))
        step = next(model.prior.schedule((8, 8), vector()))
    inside = (step.index[0, :, 0, 0] > 0) & (step.index[0, :, 0, 0] < 63)
    expected = 22.5 + 5 * spread.log2()  # a Laplacian's scale is its mean magnitude
    assert bool(inside.any())
    assert float((step.index[0, :, 0, 0] - expected)[inside].abs().max()) < 1
    assert bits[0] < 0.8 * bits[1]


def test_a_teacher_expects_what_its_transform_gives(photo: Any) -> None:
    torch.manual_seed(0)
    model = build("exact factorized")
    before = model.prior.schedule((64, 64), vector())
    image = torch.stack([picture(photo[k : k + 64, k : k + 64])[0] for k in (0, 90)])
    with torch.no_grad():
        model.transform.encoder[-1].weight.mul_(300)  # type: ignore[attr-defined]
        spread = model.transform.analysis(image)[0].abs().mean((0, 2, 3))
        unaware = next(before).index
        model.start_from_photos(image, 0.01)
        index = next(model.prior.schedule((64, 64), vector())).index[0, :, 0, 0]
    expected = (22.5 + 5 * spread.log2()).clamp(0, 63)
    assert float((index - expected).abs().max()) < 1
    assert len(unaware.unique()) == 1


def flow_of(model: IlcModel) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if k.startswith("transform.")}
