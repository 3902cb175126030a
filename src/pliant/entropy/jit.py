"""How loops are compiled: on first use, with the result kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def jit(function: _F) -> _F:
    """Compile on first use, cached on disk where there is a place for it; frees the GIL."""
    compiled: Any
    try:
        compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # "no locator available": read-only install folder and no home
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return cast(_F, compiled)
