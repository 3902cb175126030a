"""The rotation of colours: orthonormal, what the encoder finds, what the file says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pliant import codec as codec_module
from pliant import container
from pliant.codec import Codec, vector_of
from pliant.header import write_header
from pliant.layers.exact import RateVector
from pliant.models.pyramid import PyramidModel
from pliant.models.registry import Entry, Loaded
from pliant.transforms import colour
from pliant.transforms.pyramid import PyramidTransform

ANGLES = torch.tensor([[0, 0, 0], [700, -300, 100], [-2048, 5, 8191]])


def picture(pixels: Any) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()


@pytest.fixture(scope="module")
def small() -> Codec:
    torch.manual_seed(2)
    model = PyramidModel((8, 8, 8), restoration=8).eval().requires_grad_(False)
    return Codec(Loaded(Entry("small", PyramidModel, sha256="33" * 32), model, model.tables()))


def test_rotations_are_products_of_plane_rotations() -> None:
    found = colour.rotation(ANGLES).double().numpy()
    for angles, matrix in zip(ANGLES.tolist(), found, strict=True):
        expected = np.eye(3)
        for (i, j), n in zip(((1, 2), (0, 2), (0, 1)), angles, strict=True):
            angle = 2 * np.arctan(n / 4096)
            c, s = np.cos(angle), np.sin(angle)
            plane = np.eye(3)
            plane[[i, j], [i, j]], plane[i, j], plane[j, i] = c, s, -s
            expected = plane @ expected
        assert np.allclose(matrix, expected, atol=1e-6)
    assert np.array_equal(found[0], np.eye(3))


def test_integers_turn_and_come_back() -> None:
    latent = torch.randint(-600, 600, (3, 9, 8, 10), generator=torch.Generator().manual_seed(1))
    latent = latent.float()
    found = colour.turned_exactly(latent, ANGLES)
    assert torch.equal(found, found.round())
    assert torch.equal(found[0], latent[0])
    assert torch.equal(colour.turned_exactly(found, ANGLES, back=True), latent)
    # each of nine roundings may be off by half, and is carried on
    assert float((found - colour.turned(latent, colour.rotation(ANGLES))).abs().max()) < 8


def test_the_search_undoes_a_rotation() -> None:
    # three independent colours of different energy, mixed by a known rotation
    noise = torch.randn(1, 3, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    own = noise * torch.tensor([30.0, 8.0, 3.0])[None, :, None, None, None]
    turn = colour.rotation(torch.tensor([[500, -200, 300]]))
    mixed = colour.turned(own.flatten(1, 2), turn.transpose(1, 2))
    angles = colour.suitable([mixed], torch.tensor([0.1]))
    back = colour.turned(mixed, colour.rotation(angles)).view_as(own)[0].flatten(1)
    correlation = torch.corrcoef(back) - torch.eye(3)
    assert float(correlation.abs().max()) < 0.02
    assert float(torch.corrcoef(mixed.view(3, -1))[0, 1].abs()) > 0.3


def test_nothing_is_turned_where_nothing_is_gained() -> None:
    grey = torch.zeros(1, 9, 64, 64)
    grey[:, :3] = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 20
    assert colour.suitable([grey], torch.tensor([1.0])).tolist() == [[0, 0, 0]]
    small = torch.randn(1, 9, 8, 8, generator=torch.Generator().manual_seed(1))
    assert colour.suitable([small], torch.tensor([1.0])).tolist() == [[0, 0, 0]]


def test_pictures_of_a_batch_do_not_see_each_other(photo: Any) -> None:
    image = torch.cat((picture(photo[:192, :192]), picture(photo[:192, :192, ::-1])))
    details = PyramidTransform().analysis(image)[1:]
    noise = torch.tensor([4.0, 40.0])
    together = colour.suitable(details, noise)
    alone = [colour.suitable([d[b : b + 1] for d in details], noise[b : b + 1]) for b in (0, 1)]
    assert torch.equal(together, torch.cat(alone))
    assert together[0].any()


def test_turned_latents_are_undone_by_the_synthesis(photo: Any, small: Codec) -> None:
    model = small.model
    image = torch.cat([picture(photo[:192, :256])] * len(ANGLES))
    rate = RateVector(torch.zeros(len(ANGLES)), ANGLES)
    latents = model.scale(model.transform.analysis(image), rate)
    plain = model.scale(model.transform.analysis(image), RateVector(rate.rate))
    assert torch.equal(latents[-1][0], plain[-1][0])
    assert not torch.allclose(latents[-1][1], plain[-1][1], atol=1)
    # so large that no value is a one, which stands for something else
    found = model.synthesised([y * 1000 for y in latents], rate)
    assert float(((found - 128) / 1000 + 128 - image).abs().max()) < 0.01


def test_files_say_how_they_are_turned(photo: Any, small: Codec) -> None:
    grey = photo[..., :1]
    photo = np.concatenate((grey, grey // 3, 255 - grey), 2)  # colours along another line
    data = small.encode(photo, quality=70)
    header = container.read_header(data)
    assert len(header.adaptation) == 3
    vector = vector_of(header, torch.device("cpu"))
    with torch.inference_mode():
        latents = codec_module.analyse(small.model, photo, torch.device("cpu"))
    expected = small.model.fitted(latents, RateVector(torch.tensor([header.rate])))
    assert expected.adaptation is not None
    assert vector.adaptation is not None
    assert vector.adaptation.tolist() == expected.adaptation.tolist()
    plain = container.read_header(small.encode(np.repeat(grey, 3, 2), quality=70))
    assert plain.adaptation == ()
    assert len(write_header(header)) == 7 + len(write_header(plain))
