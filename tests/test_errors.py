"""What an error says of others' errors: one line, and a lack of memory whoever tells it."""

from __future__ import annotations

import pytest

from pliant.errors import DamagedError, LimitError, enough_memory, reason_of


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (KeyError(), "no reason is given"),
        (OSError("short"), "short"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (FileNotFoundError(2, "No such file", "a.png"), "a.png: No such file"),
    ],
)
def test_reasons_are_one_line(error: Exception, sentence: str) -> None:
    assert reason_of(error) == sentence


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_a_lack_of_memory_is_a_limit(error: Exception) -> None:
    with pytest.raises(LimitError, match="not enough memory"), enough_memory():
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), DamagedError("torn")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), enough_memory():
        raise error


def test_torch_says_it_in_these_words() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(LimitError), enough_memory():
        torch.empty(1 << 60, dtype=torch.uint8)
