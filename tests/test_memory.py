"""The counted memory of models, against sums by hand, and what the limits promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from small_zoo import NAMES, make
from torch import Tensor, nn
from weights import needs_weights

from pliant.limits import BYTES_PER_PIXEL
from pliant.models import registry
from pliant.models.base import ImageModel
from pliant.models.memory import PROCESS_SHARE, bytes_per_pixel


class Doubling(nn.Module):
    """Two planes of twelve bytes per pixel at a time, and a thousand numbers that are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.kept: list[Tensor] = []

    def analysis(self, image: Tensor) -> list[Tensor]:
        return [image]

    def synthesis(self, latents: Sequence[Tensor]) -> Tensor:
        self.kept = self.kept or [torch.ones(1 << 20)]
        x = latents[0]
        for _ in range(10):
            x = x + 1
        view = x[:, :, ::2]
        assert view.shape[2] == 32
        return x


class DoublingModel(ImageModel):
    """Without a prior and gains."""

    def __init__(self) -> None:
        super().__init__(Doubling(), nn.Identity(), [3])

    dtype = torch.float32  # type: ignore[assignment]

    def scale(self, latents: Sequence[Tensor], rate: Any) -> list[Tensor]:
        return list(latents)

    def unscale(self, symbols: Sequence[Tensor], rate: Any) -> list[Tensor]:
        return list(symbols)


def living(model: ImageModel) -> float:
    """Bytes of tensors per pixel."""
    return bytes_per_pixel(model) / PROCESS_SHARE


def test_what_lives_at_a_time_is_counted() -> None:
    """The sum and its addend; neither what is dropped, nor views, nor what is made once."""
    assert living(DoublingModel()) == 2 * 3 * 4


@pytest.mark.parametrize(("rectified", "tensors"), [(True, 2), (False, 4)])
def test_an_autoencoder_by_hand(rectified: bool, tensors: int) -> None:
    """Most at half the size: input and output of a ReLU; x, norm, root and product of a GDN."""
    model = registry.build("bmshj2018-factorized-128", rectified=rectified).eval()
    expected = tensors * 4 * 128 / 4
    assert expected <= living(model) < 1.03 * expected


@pytest.mark.parametrize("name", NAMES)
def test_counting_leaves_no_trace(name: str) -> None:
    model = make(name)
    before = model.dtype
    first = bytes_per_pixel(model)
    assert model.dtype == before
    assert 0 < first == bytes_per_pixel(model)


@needs_weights
def test_the_default_model_keeps_the_promise_of_the_limits() -> None:
    model = registry.build("default").eval()
    assert living(model) <= BYTES_PER_PIXEL
