"""Values that follow from a parameter, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

_T = TypeVar("_T")


class Kept:
    """Values made from a parameter, kept until it changes or moves to a device."""

    def __init__(self) -> None:
        self._source: tuple[torch.device, int, int] | None = None
        self._values: dict[Hashable, Any] = {}

    def get(self, parameter: Tensor, key: Hashable, make: Callable[[], _T]) -> _T:
        """What `make` gives, or gave when it was last called for this key."""
        # weights made in inference mode cannot be changed outside of it and have no version
        version = -1 if parameter.is_inference() else parameter._version
        source = (parameter.device, parameter.data_ptr(), version)
        if self._source != source:
            self._source, self._values = source, {}
        if key not in self._values:
            self._values[key] = make()
        value: _T = self._values[key]
        return value

    def latest(self, parameter: Tensor, key: Hashable, state: object, make: Callable[[], _T]) -> _T:
        """The same for values that depend on a state too; that of the latest one is kept."""
        entry: list[tuple[object, _T]] = self.get(parameter, key, list)
        found = entry[0] if entry else None  # at once: another thread may replace it
        if found is None or found[0] != state:
            found = (state, make())
            entry[:] = [found]
        return found[1]
