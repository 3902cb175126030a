"""A small version of `benchmarks/damage.py`: no damaged or forged file shows a wrong picture."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from weights import needs_weights

from pliant.container import read_header
from pliant.models import registry

sys.path.append(str(ROOT / "benchmarks"))

import damage
import mutations

pytestmark = needs_weights


@pytest.fixture(scope="module")
def judge() -> Any:
    warm = damage.small_codec()
    return damage.Judge(warm, mutations.samples(warm))


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIANT_MAX_PIXELS", str(damage.MAX_PIXELS))


def test_truncated_files_are_refused(judge: Any) -> None:
    (tally,) = judge.tally(islice(damage.truncations(judge.files), 0, None, 40)).values()
    assert not tally.failures
    assert tally.ends.keys() == {"damaged"}


def test_flipped_bits_are_refused(judge: Any) -> None:
    (tally,) = judge.tally(damage.flips(judge.files, 1000)).values()
    assert not tally.failures
    assert tally.ends["damaged"] > 990  # the rest names another model or a larger picture


def test_sealed_mutations_show_no_wrong_picture(judge: Any) -> None:
    found = judge.tally(damage.sealed(judge.files, 140))
    assert found.keys() == set(mutations.KINDS)
    assert not [line for tally in found.values() for line in tally.failures]
    assert sum(tally.ends["damaged"] for tally in found.values()) > 80


def test_mutations_are_sealed_and_repeatable(judge: Any) -> None:
    for name, data in judge.files.items():
        assert mutations.split(data).seal() == data, name
    first, second = (mutations.mutant(judge.files, 3) for _ in range(2))
    assert first == second


def test_a_stream_under_the_same_header_and_alpha_is_another_valid_file(judge: Any) -> None:
    """No reader can tell: it is the other file, byte for byte."""
    first, donor = (judge.files[name] for name in ("colour", "colour, same header"))
    assert read_header(first) == read_header(donor)
    parts, other = mutations.split(first), mutations.split(donor)
    parts.sections[-1] = other.sections[-1]
    assert parts.seal() == donor


@pytest.mark.parametrize(
    "name", ["2^31 x 2^31", "2^31 x 2^31 in tiles", "268 MP in one tile", "picture of 2^40 bytes"]
)
def test_bombs_are_refused_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("PLIANT_MAX_PIXELS")
    made = damage.bombs(registry.entry("default").model_id)
    end = damage.refuse(made[name], tmp_path)
    assert not end["left_behind"]
    assert not end["torch"]
    assert end["exit_code"] == (3 if "bytes" in name else 4)
