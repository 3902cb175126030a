"""Tables fitted to counted symbols: what is counted, what they save, what stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_entropy_trellis import drawn

from pliant.entropy import Decoder, Encoder, Tables, laplace_scale
from pliant.errors import UsageError
from pliant.layers.exact import RateVector
from pliant.models import registry
from pliant.priors import walk
from pliant.training import table_fit

TABLES = Tables.laplace()


def bits(uses: np.ndarray, tables: Tables) -> float:
    return float((uses * (16 - np.log2(tables.counts.astype(float)))).sum())


@pytest.mark.parametrize("on_trellis", [True, False])
def test_uses_are_what_the_stream_is_made_of(on_trellis: bool) -> None:
    symbols, scale, mean, _ = drawn(50_000, 5, 40)
    symbols = symbols if on_trellis else symbols // 2
    encoder = Encoder(TABLES)
    encoder.add(symbols, scale, mean, on_trellis)
    uses = encoder.uses()
    assert uses.sum() == len(symbols)
    ends = TABLES.offsets[1:] - 1
    assert uses[ends].sum() < 20  # of escapes, which cost more than their entry
    assert bits(uses, TABLES) == pytest.approx(8 * len(encoder.finish(0)), rel=2e-3)


def gaussian(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scale = rng.integers(15, 35, count).astype(np.uint8)
    symbols = np.rint(rng.normal(0, 1.2 * laplace_scale(scale))).astype(np.int32)
    return symbols, scale, np.zeros(count, np.int16)


def test_symbols_of_another_distribution_get_shorter_and_come_back() -> None:
    encoder = Encoder(TABLES)
    encoder.add(*gaussian(200_000, 1))
    fitted = TABLES.fitted(encoder.uses())
    symbols, scale, mean = gaussian(20_000, 2)
    lengths = []
    for tables in (TABLES, fitted):
        encoder = Encoder(tables)
        encoder.add(symbols, scale, mean)
        data = encoder.finish(encoder.hash)
        decoder = Decoder(data, tables)
        assert np.array_equal(decoder.read(scale, mean), symbols)
        decoder.finish(encoder.hash)
        lengths.append(len(data))
    assert lengths[1] < 0.98 * lengths[0]


def test_tables_without_uses_stay() -> None:
    fitted = TABLES.fitted(np.zeros(len(TABLES.counts), np.int64))
    assert np.abs(fitted.counts.astype(int) - TABLES.counts).max() <= 1
    assert np.array_equal(fitted.offsets, TABLES.offsets)


def test_an_entry_is_that_of_its_residual() -> None:
    encoder = Encoder(TABLES)
    one = np.array([1], np.int32), np.array([20], np.uint8), np.array([0], np.int16)
    encoder.add(*one)
    place = TABLES.offsets[TABLES.index[20, 8]] + 2  # 0, -1, 1
    assert encoder.uses().nonzero()[0].tolist() == [place]


def test_photos_shorten_another_photo(photos: dict[str, np.ndarray], tmp_path: Path) -> None:
    for name in ("astronaut", "coffee"):
        Image.fromarray(photos[name]).save(tmp_path / f"{name}.png")
    model = registry.load().model
    before, after = model.tables(), table_fit.fitted(model, [str(tmp_path)], crops=6)
    pixels = photos["chelsea"][-256:, -256:].copy()
    image = torch.from_numpy(pixels[None]).permute(0, 3, 1, 2).float()
    rate = RateVector(torch.tensor([900]))
    with torch.inference_mode():
        parts = model.scale(model.transform.analysis(image), rate)
        sizes = [
            len(walk.write(model.prior, parts, (256, 256), rate, tables, model.strength))
            for tables in (before, after)
        ]
    assert sizes[1] < sizes[0]


def test_published_priors_keep_theirs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="published prior"):
        table_fit.fitted(registry.build("bmshj2018-factorized-128"), [str(tmp_path)])
