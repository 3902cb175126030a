"""What every family of codecs is made of: one codec at fixed settings, and a row of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from pliant.errors import UsageError
from pliant.evaluation.metrics import Pixels


@dataclass(frozen=True)
class ImageCodec:
    """One codec at fixed settings; only `quality` is free, and more of it means more bytes.

    `encode` takes uint8 (H, W, 3) and a quality and returns a complete file; `decode` inverts it.
    A codec whose qualities are steps takes the nearest one.

    Attributes:
        name: as `find` takes it; equal settings have equal names.
        version: of the library or weights that do the work.
        qualities: to measure at, rising.
        released: results at one version never change, so they may be kept.
        extension: of the file, without the dot.
        colour: what happens to the colours, one sentence.
        threads: how many the codec may use.
        search: all qualities worth trying when a file size is aimed at, rising.
        timing_only: files and speeds are meaningful, pictures are not.
        note: what a reader of its figures must know; may be empty.
    """

    name: str
    label: str
    version: str
    qualities: tuple[float, ...]
    encode: Callable[[Pixels, float], bytes]
    decode: Callable[[bytes], Pixels]
    released: bool = True
    extension: str = "bin"
    colour: str = ""
    threads: int = 1
    search: tuple[float, ...] = tuple(map(float, range(101)))
    timing_only: bool = False
    note: str = ""


@dataclass(frozen=True)
class Option:
    """A setting of a family: its default and the values it takes (any text where there are none).

    Colons are dropped from values out of a list, so that 4:2:0 and 420 are one.
    """

    default: str
    values: tuple[str, ...] = ()

    def read(self, text: str) -> str:
        """The value that a user wrote.

        Raises:
            UsageError: it is not one of `values`; the message names them.
        """
        if not self.values:
            return text
        value = text.replace(":", "")
        if value not in self.values:
            raise UsageError(f"{text!r} is not one of {', '.join(self.values)}")
        return value


Options = Mapping[str, str]


@dataclass(frozen=True)
class Coder:
    """What a family makes of one set of options.

    Attributes:
        qualities, search: replace those of the family where they depend on the options.
        version, timing_only, note: see `ImageCodec`.
    """

    version: str
    encode: Callable[[Pixels, float], bytes]
    decode: Callable[[bytes], Pixels]
    timing_only: bool = False
    note: str = ""
    qualities: tuple[float, ...] = ()
    search: tuple[float, ...] = ()


@dataclass(frozen=True)
class Request:
    """What `find` was asked for, read and checked.

    Attributes:
        model: the part after the colon; empty for the family's default.
        options: every option of the family, defaults filled in.
    """

    model: str
    options: Options
    threads: int = 1
    separate_decoder: bool = True


@dataclass(frozen=True)
class Family:
    """A row of the table: all codecs that differ in options and model only.

    Attributes:
        label: of a model with some options, for people.
        colour: see `ImageCodec`.
        make: builds the codec; may import the optional package.
        missing: why it cannot run here, one sentence, or None; must not import anything heavy.
        qualities: the default list.
        search: see `ImageCodec`.
        continuous: qualities between those of `search` mean something too.
        models: those that follow a colon; empty where the family has none or does not list them.
        threaded: the codec can use several threads.
    """

    name: str
    label: Callable[[str, Options], str]
    extension: str
    colour: Callable[[Options], str]
    make: Callable[[Request], Coder]
    missing: Callable[[], str | None]
    qualities: tuple[float, ...]
    search: tuple[float, ...] = tuple(map(float, range(101)))
    options: Mapping[str, Option] = field(default_factory=dict)
    continuous: bool = False
    has_models: bool = False
    models: tuple[str, ...] = ()
    threaded: bool = False
    released: bool = True


def needs_package(what: str, package: str, module: str) -> Callable[[], str | None]:
    """A `Family.missing` for codecs of an optional package of the extra `eval`."""

    def missing() -> str | None:
        if find_spec(module) is None:
            return f"{what} needs {package}: pip install 'pliant[eval]'"
        return None

    return missing
