"""Slices of compiled loops, and when such loops may be used."""

from __future__ import annotations

import functools
import platform
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch

from pliant.layers import loops


@pytest.fixture(params=[False, True], ids=["team", "pool"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On torch's threads, and on a pool's where torch has others."""
    if request.param:
        monkeypatch.setattr(loops, "_team", lambda: None)


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_every_number_is_done_once(
    monkeypatch: pytest.MonkeyPatch, threads: int, count: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    seen: list[tuple[int, int, str]] = []
    loops.in_slices(lambda *a: seen.append(a), count, 1 << 16, "argument")
    assert len(seen) == max(1, min(threads, count))
    assert all(argument == "argument" for _, _, argument in seen)
    assert sorted(n for a, b, _ in seen for n in range(a, b)) == list(range(count))


def test_little_work_stays_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    seen: list[Any] = []
    loops.in_slices(lambda *a: seen.append(a), 100, 8)
    assert seen == [(0, 100)]


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="torch may have other threads"
)
def test_torch_shares_its_threads() -> None:
    assert loops._team() is not None


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("count", [1, 2, 7])
def test_all_works_are_done_and_two_at_once(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    both, seen = threading.Barrier(2), []

    def work(number: int) -> None:
        if count > 1 and number < 2:
            both.wait(timeout=20)  # passes only if another work runs at the same time
        seen.append(number)

    loops.at_once([functools.partial(work, n) for n in range(count)])
    assert sorted(seen) == list(range(count))


@pytest.mark.usefixtures("_either_way")
def test_torch_works_in_threads() -> None:
    x = torch.rand(1, 8, 64, 64)
    weight = torch.rand(8, 8, 3, 3)
    found: list[torch.Tensor] = []

    def work() -> None:
        with torch.inference_mode():
            found.append(torch.conv2d(x, weight))

    loops.at_once([work, work, work])
    assert all(torch.allclose(y, torch.conv2d(x, weight), rtol=1e-4) for y in found)


@pytest.mark.usefixtures("_either_way")
def test_an_error_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def fails(first: int, _last: int) -> None:
        if first:
            raise ValueError("second half")

    with pytest.raises(ValueError, match="second half"):
        loops.in_slices(fails, 10, 1 << 16)


def test_gradients_and_other_types_need_torch() -> None:
    x = torch.zeros(2)
    assert not loops.compilable(x)
    with torch.no_grad():
        assert loops.compilable(x, x)
        assert not loops.compilable(x, x.double())


def test_memory_is_shared() -> None:
    tensor, memory = loops.empty((2, 3, 4, 5), torch.int16)
    memory[:] = np.arange(120).reshape(memory.shape)
    assert tensor.shape == (2, 3, 4, 5)
    assert int(tensor[1, 2, 3, 4]) == 119
    assert np.shares_memory(loops.channels_last(tensor), memory)
    assert loops.positions(memory).shape == (40, 3)
