"""Probability tables fitted to photos: the last step before weights ship.

Networks are trained for a Laplacian, but what they predict is never quite one, and the choice of
symbols by rate and distortion empties the surroundings of zero. The tables are integers stored with
the weights, so they can as well hold what was counted: nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pliant.entropy.tables import Array, Tables
from pliant.errors import UsageError
from pliant.layers.exact import RateVector
from pliant.models.base import ImageModel
from pliant.priors import walk
from pliant.training.data import PhotoStore, cache_folder
from pliant.units import RATE_MAX

CROP = 384  # pixels
CROPS = 256


@torch.inference_mode()
def fitted(model: ImageModel, folders: Sequence[str], crops: int = CROPS) -> Tables:
    """The model's tables, fitted to crops of photos at rates that are spread over all.

    Args:
        model: of finished weights.
        folders: photos, none of which serves for an evaluation.

    Raises:
        UsageError: its tables are those of a published prior, or there are no photos.
    """
    if not model.portable:
        raise UsageError("the tables of a published prior follow from its parameters")
    store = PhotoStore(folders, cache_folder(), CROP)
    tables, rng = model.tables(), np.random.default_rng(1)
    uses = np.zeros(len(tables.counts), np.int64)
    for place in (np.arange(crops) + 0.5) / crops:
        image = torch.from_numpy(store.batch(rng, CROP, [0.0])).float()
        uses += uses_of(model, image, int(place * (RATE_MAX + 1)), tables)
    return tables.fitted(uses)


@torch.inference_mode()
def uses_of(model: ImageModel, image: Tensor, r: int, tables: Tables) -> Array:
    """How often a picture uses each entry of the tables, int64 [entries].

    Args:
        image: (1, 3, H, W) in 0..255, sizes multiples of the model's.
        r: rate parameter.
    """
    latents = model.transform.analysis(image)
    rate = model.fitted(latents, RateVector(torch.tensor([r])))
    size = (image.shape[2], image.shape[3])
    parts = model.scale(latents, rate)
    return walk.uses(model.prior, parts, size, rate, tables, model.strength)
