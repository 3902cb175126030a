"""MSINN: its facts, and that the known faults of the published code are absent here."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from small_zoo import build, config_of, make
from torch import Tensor, nn

from pliant.codec import Codec
from pliant.entropy.families import gaussian_scale
from pliant.layers.anchor_gains import ANCHOR_WEIGHTS, anchor_rates
from pliant.layers.cells import A, B, put, take
from pliant.layers.exact import RateVector
from pliant.layers.invertible import Coupling, InvertibleConv
from pliant.layers.quantize import step_for
from pliant.models import registry
from pliant.models.complexity import macs_per_pixel
from pliant.models.msinn import MsinnModel
from pliant.models.registry import Entry, Loaded
from pliant.priors import halves, walk
from pliant.priors.flow_context import FlowPrior
from pliant.priors.slices import SlicePrior
from pliant.training.optimiser import Optimiser
from pliant.transforms.multiscale import CHANNELS, FACTORS
from pliant.units import RATE_MAX

NAMES = ["msinn", "exact msinn refined"]
every_model = pytest.mark.parametrize("name", NAMES)
linear_start = pytest.mark.parametrize("name", ["exact msinn refined", "msinn linear"])


def flow(name: str = "msinn", seed: int = 0) -> MsinnModel:
    model = make(name, seed)
    assert isinstance(model, MsinnModel)
    return model


def vector(*rates: float) -> RateVector:
    return RateVector(torch.tensor(rates, dtype=torch.float64))


def picture(pixels: Any) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()


def loaded(model: MsinnModel, name: str = "msinn") -> Loaded:
    entry = Entry(name, MsinnModel, config_of(name), sha256="01" * 32)
    return Loaded(entry, model.requires_grad_(False), model.tables())


@pytest.fixture(scope="module")
def published() -> MsinnModel:
    model = registry.build("msinn-8")
    assert isinstance(model, MsinnModel)
    return model


def count(module: nn.Module | None) -> int:
    assert module is not None
    return sum(p.numel() for p in module.parameters())


def test_published_parameters(published: MsinnModel) -> None:
    transform, prior = published.flow, published.prior
    assert isinstance(prior, FlowPrior)
    assert [count(m) for m in transform.levels] == [628944, 667680, 748608, 1809792]
    assert [count(m) for m in prior.coarse] == [608864, 525872, 484376, 463628]
    assert [count(m) for m in prior.spatial] == [461280, 461280, 378288, 336792, 316044]
    assert [count(m) for m in prior.fusion] == [63872, 63872, 16064, 4064, 1040]
    assert [count(m) for m in transform.refinement] == [553520, 608816, 525848, 484364, 463622]
    assert count(transform.post) == 1_659_427
    assert count(published.gains) == 3 * 8 * 138
    assert count(published) == 12_339_317


def test_published_work(published: MsinnModel) -> None:
    """What is coded needs no refinement of the finest slice; the decoder has the flow twice.

    Once within the prior, without the finest level and slice, and once for the picture.
    """
    encoder, decoder = macs_per_pixel(published)
    refinement, transform, post = 158.76, 217.15, 163.94
    again = transform - 156.82 + refinement - 115.78
    assert encoder == pytest.approx(588_990, abs=10)
    assert decoder == pytest.approx(1000 * (808.37 + again), abs=50)
    bare = MsinnModel(refinement=(0, 0), post=0)
    encoder, decoder = macs_per_pixel(bare)
    contexts = 156.60 + 109.44 + 2 * 1.24 + 217.15 - 156.82
    assert encoder == pytest.approx(1000 * (contexts + transform), abs=50)
    assert decoder == pytest.approx(encoder, abs=1)
    assert pytest.approx(contexts + refinement + 156.82 + post, abs=0.05) == 808.37


def test_a_picture_becomes_as_many_values(published: MsinnModel) -> None:
    with torch.no_grad():
        slices = published.transform.analysis(torch.rand(1, 3, 256, 256) * 255)
    sizes = [(48, 16, 16), (48, 16, 16), (24, 32, 32), (12, 64, 64), (6, 128, 128)]
    assert [tuple(y.shape[1:]) for y in slices] == sizes
    assert sum(y.numel() for y in slices) == 3 * 256 * 256
    assert [256 // f for f in FACTORS] == [s[1] for s in sizes]


def invert(model: MsinnModel, image: Tensor) -> float:
    with torch.no_grad():
        decoded = model.transform.synthesis(model.transform.analysis(image))
    return float((decoded - image).abs().max()) / 255


@pytest.mark.parametrize("name", [*NAMES, "untrained"])
def test_the_flow_is_inverted_exactly(name: str, photo: Any) -> None:
    image = picture(photo[:96, :128])
    if name == "untrained":
        model = build("msinn")
        assert isinstance(model, MsinnModel)
        model.start_from_photos(image, 1.0)
    else:
        model = flow(name)
    assert invert(model, image) < 1e-4
    model.train().requires_grad_(True)
    optimiser = Optimiser(model, 1e-3, 1e-3, 2.0)
    for _ in range(3):
        bits, decoded = model.surrogate(image, vector(0))
        model.zero_grad()
        (bits.sum() / 96 / 128 + (decoded - image).square().mean()).backward()
        optimiser.step(1.0)
    assert invert(model, image) < 1e-4
    exact = copy.deepcopy(model.transform).double()  # type: ignore[attr-defined]
    with torch.no_grad():
        decoded = exact.synthesis(exact.analysis(image.double()))
    assert float((decoded - image).abs().max()) / 255 < 1e-10


def test_a_flow_without_couplings_is_linear(photo: Any) -> None:
    model = build("msinn")
    assert isinstance(model, MsinnModel)
    a, b = picture(photo[:64, :64]), picture(photo[100:164, :64])
    model.start_from_photos(a, 1.0)
    with torch.no_grad():
        one, two, mean = (model.transform.analysis(x) for x in (a, b, (a + b) / 2))
    for x, y, z in zip(one, two, mean, strict=True):
        assert torch.allclose((x + y) / 2, z, atol=1e-4)


@linear_start
def test_it_starts_as_an_orthonormal_transform(name: str, photo: Any) -> None:
    """Distances are kept, and coarse slices have most of the energy."""
    model = build(name)
    assert isinstance(model, MsinnModel)
    image = picture(photo[:128, :128])
    model.start_from_photos(image, 1.0)
    other = image + torch.randn_like(image)
    with torch.no_grad():
        one, two = (model.transform.analysis(x) for x in (image, other))
    moved = sum(float((a - b).square().sum()) for a, b in zip(one, two, strict=True))
    assert moved == pytest.approx(float((image - other).square().sum()) / 255**2, rel=1e-3)
    energy = [float(y.square().mean()) for y in one]
    assert energy[0] > 100 * max(energy[1:])
    assert energy[4] == min(energy)
    for anchor, rate in enumerate(anchor_rates(3)):
        step = step_for(ANCHOR_WEIGHTS[anchor]) / 255
        units, worths = model.gains.steps(vector(rate)), model.anchor_gains.inverse_gains
        for unit, worth in zip(units, worths(vector(rate)), strict=True):
            assert torch.allclose(unit, torch.tensor(step), rtol=1e-4)
            assert torch.allclose(worth, unit)


def test_masks_see_the_other_half() -> None:
    """An output depends on the 40 cells of the other half within a 9x9 window."""
    prior = flow().prior
    assert isinstance(prior, FlowPrior)
    for net, channels in zip(prior.spatial, CHANNELS, strict=True):
        x = torch.rand(1, channels, 13, 13, requires_grad=True)
        before = [p.detach().clone() for p in net.parameters()]
        (gradient,) = torch.autograd.grad(net(x)[0, :, 6, 6].square().sum(), x)
        seen = gradient[0].abs().sum(0) > 0
        rows, columns = np.mgrid[-6:7, -6:7]
        allowed = ((rows + columns) % 2 == 1) & (np.maximum(abs(rows), abs(columns)) <= 4)
        assert np.array_equal(seen.numpy(), allowed)
        assert int(allowed.sum()) == 40
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_the_other_half_of_a_slice_does_not_matter() -> None:
    """What the second half gets is made of the first, whatever lies where itself will lie."""
    prior = flow().prior
    assert isinstance(prior, FlowPrior)
    for cells, others in ((A, B), (B, A)):
        y, z = torch.rand(2, 1, CHANNELS[2], 16, 16)
        put(z, cells, take(y, cells))
        with torch.no_grad():
            one, two = (take(prior.spatial[2](x), others) for x in (y, z))
        assert torch.equal(one, two)


def test_halves_take_turns() -> None:
    assert [halves.halves(n)[0] for n in range(5)] == [B, A, B, A, B]
    slices = [
        torch.rand(2, c, 32 // f * 2, 64 // f * 2) for c, f in zip(CHANNELS, FACTORS, strict=True)
    ]
    parts = halves.split(slices)
    assert len(parts) == 10
    for a, b in zip(halves.merge(parts), slices, strict=True):
        assert torch.equal(a, b)


@every_model
def test_values_are_symbols_times_their_worth_plus_the_mean(name: str, photo: Any) -> None:
    model = flow(name)
    rate = vector(700)
    with torch.no_grad():
        latents = model.transform.analysis(picture(photo[:64, :64]))
        schedule = model.prior.schedule((64, 64), rate)
        step = next(schedule)
        worths, units = model.anchor_gains.inverse_gains(rate), model.gains.steps(rate)
        for number, part in enumerate(halves.split(latents)):
            unit, worth = (x[number // 2].repeat(1, 2, 1, 1) for x in (units, worths))
            values = step.choose(part / unit, 0.0)
            centre, _ = step.centred()
            symbols = values - centre
            assert torch.allclose(symbols, symbols.round(), atol=1e-3)
            assert float((part / unit - values).abs().max()) < 0.501
            expected = symbols * worth + centre * unit
            assert torch.allclose(step.reconstruct(values), expected, atol=1e-4)
            if number < 9:
                step = schedule.send(values)


def test_the_table_of_spreads() -> None:
    assert float(gaussian_scale(0)) == pytest.approx(0.11)
    assert float(gaussian_scale(63)) == pytest.approx(256)
    assert float(gaussian_scale(8) / gaussian_scale(7)) == pytest.approx(1.13095, abs=1e-5)
    assert len(flow().tables().offsets) == 65


@every_model
@pytest.mark.parametrize("quality", [0, 33.3, 100])
def test_files_at_every_rate(name: str, quality: float, photo: Any) -> None:
    codec = Codec(loaded(flow(name), name))
    data = codec.encode(photo[:49, :97], quality=quality)
    assert codec.decode(data).pixels.shape == (49, 97, 3)
    rate = round(RATE_MAX * (1 - quality / 100))
    with torch.no_grad():
        image = codec.model.pad(picture(photo[:49, :97]))
        assert image.shape[2:] == (64, 128)
        _, expected = codec.model.round_trip(image, vector(rate), 0.0)
        found = codec.model.decoded(codec.decode_symbols(data), vector(rate))
    assert torch.allclose(found, expected, atol=0.05)


@every_model
def test_files_shrink_with_the_rate(name: str, photo: Any) -> None:
    codec = Codec(loaded(flow(name), name))
    sizes = [len(codec.encode(photo[:96, :96], quality=q)) for q in (0, 20, 47.3, 75, 100)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 1.3 * sizes[0]


@pytest.mark.parametrize("exact", [False, True])
def test_files_without_refinement_and_post_net(exact: bool, photo: Any) -> None:
    torch.manual_seed(0)
    config = {
        "weights": ANCHOR_WEIGHTS[:3],
        "widths": (4,) * 4,
        "units": 1,
        "context": (4,) * 5,
        "exact": exact,
    }
    model = MsinnModel(**config, refinement=(0, 0), post=0).eval()
    image = picture(photo[:96, :96])
    model.start_from_photos(image, 1.0)
    codec = Codec(loaded(model))
    data = codec.encode(photo[:96, :96], quality=100)
    with torch.no_grad():
        _, expected = model.round_trip(image, vector(0), 0.0)
    decoded = codec.decode(data).pixels
    shown = expected[0].permute(1, 2, 0).round().clamp(0, 255).numpy()
    assert np.abs(decoded - shown).max() <= 1


def test_nothing_starts_while_it_runs(photo: Any) -> None:
    """ActNorm is set once, before training; copies and averages have it."""
    model = build("msinn").train()
    assert isinstance(model, MsinnModel)
    image = picture(photo[:64, :64])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.surrogate(image, vector(0))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.start_from_photos(image, 1.0)
    slices = model.transform.analysis(image)
    assert all(float(y.detach().std()) == pytest.approx(1, abs=0.5) for y in slices)
    rotation = next(m for m in model.modules() if isinstance(m, InvertibleConv)).weight[:, :, 0, 0]
    assert torch.allclose(rotation @ rotation.T, torch.eye(12), atol=1e-5)


def test_couplings_start_as_the_identity() -> None:
    for module in build("msinn").modules():
        if isinstance(module, Coupling):
            x = torch.rand(1, 2 * next(module.parameters()).shape[1], 4, 4)
            assert torch.equal(module(x), x)


def test_the_exact_context_is_made_of_integers(photo: Any) -> None:
    """Other float arithmetic of the transform cannot change what is read next."""
    model = flow("exact msinn refined")
    assert isinstance(model.prior, SlicePrior)
    rate = vector(400)
    with torch.no_grad():
        latents = model.scale(model.transform.analysis(picture(photo[:64, :64])), rate)
        _, _ = walk.bits(model.prior, latents, (64, 64), rate, 0.0)
        values = [p.round() for p in model.prior.split(latents)]
        one = list(walk.taught(model.prior, values, (64, 64), rate))
        for parameter in (*model.flow.parameters(), *model.gains.parameters()):
            parameter.add_(0.01 * torch.randn_like(parameter))
        two = list(walk.taught(model.prior, values, (64, 64), rate))
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.mean, b.mean)
        assert torch.equal(a.mean, a.mean.round())
    # networks see quarters of a symbol; of what means leave, sixteenths
    assert {float(x) for x in (one[3].centred()[0] * 16 % 1).unique()} == {0.0}


@linear_start
def test_an_untrained_model_is_a_codec_already(name: str, photo: Any) -> None:
    """Its rate does not start at tens of bits per pixel."""
    model = build(name).eval()
    assert isinstance(model, MsinnModel)
    image = picture(photo[:128, :128])
    model.start_from_photos(image, 1.0)
    with torch.no_grad():
        rates = anchor_rates(3)
        found = [model.round_trip(image, vector(rate), 0.0) for rate in rates]
    bpp = [float(bits) / 128**2 for bits, _ in found]
    error = [float((decoded - image).square().mean()) for _, decoded in found]
    assert bpp == sorted(bpp)
    assert error == sorted(error, reverse=True)
    assert bpp[-1] < 1
    assert error[0] < 150
