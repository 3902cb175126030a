"""What every model is: a transform, a prior and gains, of matching shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.entropy.tables import Tables
from pliant.layers.exact import RateVector
from pliant.layers.quantize import Gains, Points
from pliant.priors.walk import Prior, bits, noisy
from pliant.transforms.restoration import Restoration


class Transform(Protocol):
    """Pixels to latents and back; the first latent is the coarsest.

    A transform may state its `reach`: how many pixels around a block (a multiple of the model's)
    its samples depend on. Large pictures then pass through it in blocks.
    """

    def analysis(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in 0..255, sizes multiples of the model's, to real latents."""
        ...

    def synthesis(self, latents: Sequence[Tensor]) -> Tensor:
        """Latents to (B, 3, H, W) in 0..255, not yet clamped."""
        ...


class ImageModel(nn.Module):
    """A transform, a prior and gains; everything that encodes, decodes or trains uses only this.

    Attributes:
        multiple: pictures are padded to multiples of it in both directions.
        portable: whether the prior is exact, so that files decode on every machine.
        integral: whether the synthesis gets integers.
        single_rate: whether the rate parameter has no effect.
        lossless: whether decoded pixels are those that were encoded.
        strength: of rate when the encoder chooses symbols, see `Step.choose`.
        restoration: what improves the picture after the synthesis, if the model has it.
        adaptations: numbers that fit the model to a picture, from -32768 to 32767; 0: none.
    """

    multiple: int = 64
    portable: bool = True
    integral: bool = True
    single_rate: bool = False
    lossless: bool = False
    strength: float = 1.0
    adaptations: int = 0

    def __init__(
        self,
        transform: nn.Module,
        prior: nn.Module,
        channels: Sequence[int],
        restoration: Restoration | None = None,
        points: Sequence[Points] | None = None,
        gains: Gains | None = None,
    ) -> None:
        super().__init__()
        self.transform: Transform = transform  # type: ignore[assignment]
        self.prior: Prior = prior  # type: ignore[assignment]
        self.gains = gains or Gains(channels, points or [Points()] * len(channels))
        self.restoration = restoration

    def pad(self, image: Tensor) -> Tensor:
        """Repeats the last row and column of (B, 3, H, W) up to the next multiple."""
        height, width = image.shape[2:]
        return F.pad(
            image, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate"
        )

    def fitted(self, latents: Sequence[Tensor], rate: RateVector) -> RateVector:
        """The rate with the adaptation that suits pictures of these latents; encoders choose it."""
        return rate

    def scale(self, latents: Sequence[Tensor], rate: RateVector) -> list[Tensor]:
        """Latents to the units of their symbols."""
        return [y / step for y, step in zip(latents, self.gains.steps(rate), strict=True)]

    def unscale(self, symbols: Sequence[Tensor], rate: RateVector) -> list[Tensor]:
        """Symbols to latents."""
        return self.gains.dequantise(symbols, rate)

    def synthesised(self, symbols: Sequence[Tensor], rate: RateVector) -> Tensor:
        """Symbols to the picture (B, 3, H, W) in 0..255, neither restored nor clamped."""
        return self.transform.synthesis(self.unscale(symbols, rate))

    def decoded(self, symbols: Sequence[Tensor], rate: RateVector) -> Tensor:
        """Symbols to the picture (B, 3, H, W) in 0..255, not yet clamped."""
        picture = self.synthesised(symbols, rate)
        return picture if self.restoration is None else self.restoration(picture, rate)

    @property
    def reach(self) -> int | None:
        """How many pixels around a block decoded pixels depend on; None: on all."""
        own: int | None = getattr(self.transform, "reach", None)
        return own if own is None or self.restoration is None else own + self.restoration.reach

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' activations: float32, bfloat16 (training) or uint8 (int8 kernels)."""
        return self.prior.dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype) -> None:
        self.prior.dtype = dtype
        if self.restoration is not None:
            self.restoration.dtype = dtype

    def round_trip(self, image: Tensor, rate: RateVector, strength: float) -> tuple[Tensor, Tensor]:
        """Estimated bits (B,) and the decoded picture of a padded batch."""
        size = (image.shape[2], image.shape[3])
        with torch.no_grad():
            latents = self.transform.analysis(image)
            rate = self.fitted(latents, rate)
            latents = self.scale(latents, rate)
        total, parts = bits(self.prior, latents, size, rate, strength)
        return total, self.decoded(self.prior.merge(parts, size), rate)

    def surrogate(
        self, image: Tensor, rate: RateVector, shows_noise: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As `round_trip`, with gradients for every part of the model: see `walk.noisy`."""
        size = (image.shape[2], image.shape[3])
        return self.surrogate_of(self.transform.analysis(image), size, rate, shows_noise)

    def surrogate_of(
        self,
        latents: Sequence[Tensor],
        size: tuple[int, int],
        rate: RateVector,
        shows_noise: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The same from the latents of pictures of padded `size` (height, width)."""
        total, values = noisy(self.prior, self.scale(latents, rate), size, rate, shows_noise)
        return total, self.decoded(values, rate)

    def start_from_photos(self, image: Tensor, distortion_weight: float) -> None:
        """Sets what untrained weights take from photos (B, 3, H, W) in 0..255, before training.

        Args:
            distortion_weight: bits per pixel that one unit of mean squared error is worth.
        """

    def adopted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state that training starts from, out of this model's or of one that it builds on."""
        return dict(state)

    def tables_at(self, rate: int, stored: Tables) -> Tables:
        """The tables of a rate parameter, where the stored ones do not serve all."""
        return stored

    def tables(self) -> Tables:
        """The probability tables of the trained model, made once, to be stored with its weights."""
        return Tables.laplace()

    def settle(self) -> None:
        """Brings what only follows from the trained parameters up to date with them."""
