"""Autoencoders whose layers depend on the rate: with conditional convolutions, or with a map."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pliant.layers.conditional import LevelModulation, nearest_level
from pliant.layers.exact import RateVector
from pliant.layers.feature_transform import Conditions, FeatureTransform
from pliant.transforms.autoencoder import PEAK, Autoencoder
from pliant.units import RATE_MAX

_Conv = nn.Conv2d | nn.ConvTranspose2d
_STRETCH = 2.0  # of the quality map's range, -1..1


class ConditionedAutoencoder(Autoencoder, ABC):
    """An autoencoder that waits for the rate: its analysis hands on the picture.

    What a large picture's tile needs of it is computed from that tile alone.

    Args:
        base: whose layers it has, under the same names.

    Attributes:
        modulators: of "encoder", "hyper" and "decoder", what follows a layer, by its name.
    """

    def __init__(self, base: Autoencoder) -> None:
        nn.Module.__init__(self)
        self.encoder, self.decoder, self.hyper = base.encoder, base.decoder, base.hyper
        self.modulators = nn.ModuleDict()

    def analysis(self, image: Tensor) -> list[Tensor]:
        """See `models.base.Transform`: the picture itself."""
        return [image]

    @abstractmethod
    def analysis_at(self, picture: Tensor, rate: RateVector) -> list[Tensor]:
        """What `analysis` gave to [z, y]."""

    @abstractmethod
    def synthesis_at(self, latents: Sequence[Tensor], rate: RateVector) -> Tensor:
        """As `synthesis`."""

    def through(self, part: str, x: Tensor, conditions: Iterable[Tensor]) -> Tensor:
        """`x` through the layers of a part; each modulator takes the next condition."""
        modulators, remaining = self.modulators[part], iter(conditions)
        assert isinstance(modulators, nn.ModuleDict)
        for name, layer in self.get_submodule(part).named_children():
            x = layer(x)
            if name in modulators:
                x = modulators[name](x, next(remaining))
        return x


class ConditionalAutoencoder(ConditionedAutoencoder):
    """Choi et al. (ICCV 2019): every convolution is conditional, see `LevelModulation`."""

    def __init__(self, base: Autoencoder) -> None:
        super().__init__(base)
        for part in ("encoder", "hyper", "decoder"):
            layers = self.get_submodule(part).named_children()
            convs = {name: layer for name, layer in layers if isinstance(layer, _Conv)}
            made = {name: LevelModulation(conv.out_channels) for name, conv in convs.items()}
            self.modulators[part] = nn.ModuleDict(made)

    def analysis_at(self, picture: Tensor, rate: RateVector) -> list[Tensor]:
        """See `ConditionedAutoencoder`."""
        levels = itertools.repeat(nearest_level(rate.rate))
        main = self.through("encoder", picture / PEAK, levels)
        return [self.through("hyper", main, levels), main]

    def synthesis_at(self, latents: Sequence[Tensor], rate: RateVector) -> Tensor:
        """See `ConditionedAutoencoder`."""
        levels = itertools.repeat(nearest_level(rate.rate))
        return self.through("decoder", latents[-1], levels) * PEAK


class MapAutoencoder(ConditionedAutoencoder):
    """Song et al. (ICCV 2021): features follow a quality map, which only the encoder knows.

    The decoder's conditions come from z and y. A picture may have the map as a fourth plane, 0 to
    1; without one it is uniform, 1 at the finest rate and 0 at the coarsest. Features of half the
    size, where they cost most, and the picture's last layer are left as they are.

    What starts from a trained model has to learn the map's meaning within a short schedule: it
    enters stretched, and latents, which are large there, enter as logarithms.
    """

    def __init__(self, base: Autoencoder) -> None:
        super().__init__(base)
        assert isinstance(base.hyper, nn.Sequential)
        encoder, decoder = (_channels(layers) for layers in (base.encoder, base.decoder))
        hyper = _channels(base.hyper)
        main, side = encoder[-1], hyper[-1]
        first = next(n for n, x in base.hyper.named_children() if isinstance(x, _Conv))
        # after the second and third normalisation; of the encoder also after the last layer
        widths = {
            "encoder": {"3": encoder[1], "5": encoder[2], "6": main},
            "hyper": {first: hyper[0]},
            "decoder": {"1": decoder[0], "3": decoder[1]},
        }
        for part, places in widths.items():
            made = {name: FeatureTransform(channels) for name, channels in places.items()}
            self.modulators[part] = nn.ModuleDict(made)
        self.modulators["latent"] = FeatureTransform(main)
        self.conditions = nn.ModuleDict(
            {
                "encoder": Conditions(4, 3),
                "hyper": Conditions(1 + main, 1),
                "decoder": Conditions(side + main, 3, growing=True),
            }
        )

    def analysis_at(self, picture: Tensor, rate: RateVector) -> list[Tensor]:
        """See `ConditionedAutoencoder`."""
        image, quality = picture[:, :3] / PEAK, picture[:, 3:]
        if not quality.shape[1]:
            level = 1 - rate.rate.to(image) / RATE_MAX
            quality = level[:, None, None, None].expand(-1, 1, *image.shape[2:])
        quality = _STRETCH * (2 * quality - 1)
        seen = F.avg_pool2d(torch.cat((quality, image), 1), 4)
        main = self.through("encoder", image, self.conditions["encoder"](seen))
        seen = torch.cat((F.avg_pool2d(quality, 16), _logarithm(main)), 1)
        return [self.through("hyper", main, self.conditions["hyper"](seen)), main]

    def synthesis_at(self, latents: Sequence[Tensor], rate: RateVector) -> Tensor:
        """See `ConditionedAutoencoder`; the rate tells nothing."""
        side, main = latents
        seen = torch.cat((F.interpolate(side, scale_factor=4.0, mode="nearest"), main), 1)
        first, *others = self.conditions["decoder"](_logarithm(seen))
        main = self.modulators["latent"](main, first)
        return self.through("decoder", main, others) * PEAK


def _logarithm(x: Tensor) -> Tensor:
    """Magnitudes as log(1 + magnitude)."""
    return x.sign() * x.abs().log1p()


def _channels(layers: nn.Sequential) -> list[int]:
    """Outputs of the convolutions."""
    return [layer.out_channels for layer in layers if isinstance(layer, _Conv)]
