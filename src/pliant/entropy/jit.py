"""How loops are compiled: on first use, with the result kept on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def jit(function: _F) -> _F:
    """Compile on first use, cached on disk where there is a place for it; frees the GIL."""
    compiled: Any
    try:
        compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
        _forgive(compiled)
    except RuntimeError:  # "no locator available": read-only install folder and no home
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return cast(_F, compiled)


def _forgive(compiled: Any) -> None:
    """What cannot be saved, as on a full disk, is compiled again next time."""
    cache = getattr(compiled, "_cache", None)
    if cache is None:  # NUMBA_DISABLE_JIT: the plain function
        return
    save = cache.save_overload

    def try_to_save(*arguments: Any) -> None:
        with contextlib.suppress(OSError):
            save(*arguments)

    cache.save_overload = try_to_save
