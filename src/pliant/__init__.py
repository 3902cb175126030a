"""Pliant: a learned image codec, one model for every rate.

The public names load on first use, so that ``import pliant`` and ``pliant --help`` stay fast.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` says it, which is not worth the time of its import here
if TYPE_CHECKING:
    from typing import Any

    from pliant.codec import Codec, decode, encode, load
    from pliant.errors import DamagedError, LimitError, MissingError, PliantError, UsageError
    from pliant.pillow import register_pillow
    from pliant.summary import info

__version__ = "0.1.0"

__all__ = [
    "Codec",
    "DamagedError",
    "LimitError",
    "MissingError",
    "PliantError",
    "UsageError",
    "__version__",
    "decode",
    "encode",
    "info",
    "load",
    "register_pillow",
]

_HOME = {
    "Codec": "pliant.codec",
    "decode": "pliant.codec",
    "encode": "pliant.codec",
    "load": "pliant.codec",
    "DamagedError": "pliant.errors",
    "LimitError": "pliant.errors",
    "MissingError": "pliant.errors",
    "PliantError": "pliant.errors",
    "UsageError": "pliant.errors",
    "info": "pliant.summary",
    "register_pillow": "pliant.pillow",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'pliant' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted(__all__)
