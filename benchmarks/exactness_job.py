"""What one process of the exactness harness is told to do."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Setting:
    """How one process computes.

    Attributes:
        arithmetic: of the exact networks, "int8" or "float32" kernels.
        layout: memory format forced on every convolution's input, "" for what the product does.
        onednn: False uses torch's own convolutions.
        batch: pictures whose tables are computed together.
        reference: the coder in plain Python; corners of the pictures only.
        variables: of the environment.
    """

    name: str
    arithmetic: str = "float32"
    threads: int = 1
    layout: str = ""
    onednn: bool = True
    batch: int = 1
    reference: bool = False
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job(Setting):
    """A task, "write" or "read", in one setting; the folder holds weights and files."""

    folder: str
    task: str
    model: str
    pictures: list[str] = field(default_factory=list)
    qualities: list[float] = field(default_factory=list)
