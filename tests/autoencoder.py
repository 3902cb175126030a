"""A minimal autoencoder: what a model from the literature needs to become one of ours."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pliant.entropy import Tables
from pliant.models.base import ImageModel
from pliant.models.registry import Entry, Loaded
from pliant.priors.checkerboard import CheckerboardPrior
from pliant.priors.hyperprior import HyperPrior

PRIORS = {"hyperprior": HyperPrior, "checkerboard": CheckerboardPrior}
SIDE, MAIN, WIDTH = 4, 12, 8


def _down(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 5, 2, 2)


def _up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 5, 2, 2, output_padding=1)


class Autoencoder(nn.Module):
    """Image to [z at 1/64, y at 1/16] and y back: 5x5 convolutions of stride 2 and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [3, WIDTH, WIDTH, WIDTH, MAIN]
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            encoder += [_down(a, b), nn.ReLU()]
            decoder = [_up(b, a), nn.ReLU(), *decoder]
        self.encoder = nn.Sequential(*encoder[:-1])
        self.hyper_encoder = nn.Sequential(_down(MAIN, WIDTH), nn.ReLU(), _down(WIDTH, SIDE))
        self.decoder = nn.Sequential(*decoder[:-1])

    def analysis(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in 0..255 to [z, y], of about the range of pixels."""
        main = self.encoder((image - 128) / 64) * 64
        return [self.hyper_encoder(main / 64) * 64, main]

    def synthesis(self, latents: Sequence[Tensor]) -> Tensor:
        """[z, y] to (B, 3, H, W) in 0..255; z tells only the prior something."""
        image: Tensor = self.decoder(latents[1] / 64) * 64 + 128
        return image


class AutoencoderModel(ImageModel):
    """The autoencoder with one of the classic priors.

    Args:
        prior: "hyperprior" or "checkerboard".
    """

    multiple = 64

    def __init__(self, prior: str) -> None:
        super().__init__(Autoencoder(), PRIORS[prior](MAIN, SIDE, WIDTH), [SIDE, MAIN])


def loaded(prior: str, seed: int = 0) -> Loaded:
    """Such a model with random weights, as if it came from the registry."""
    torch.manual_seed(seed)
    model = AutoencoderModel(prior).eval().requires_grad_(False)
    for parameter in model.prior.parameters():  # type: ignore[attr-defined]
        parameter.add_(
            torch.randn_like(parameter) * 0.05
        )  # heads start near zero: make them differ
    entry = Entry(prior, AutoencoderModel, {"prior": prior}, sha256=f"{seed + 1:02x}" * 32)
    return Loaded(entry, model, Tables.laplace())
