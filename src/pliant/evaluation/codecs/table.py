"""The table of codecs: families, and the names under which some of their settings are known."""

from __future__ import annotations

from pliant.errors import MissingError, UsageError
from pliant.evaluation.codecs import spec
from pliant.evaluation.codecs.base import Family, ImageCodec, Options, Request
from pliant.evaluation.codecs.heic import HEIC
from pliant.evaluation.codecs.jxl import JXL
from pliant.evaluation.codecs.own import PLIANT
from pliant.evaluation.codecs.peers import COMPRESSAI
from pliant.evaluation.codecs.through_pillow import AVIF, JPEG, JPEG2000, WEBP
from pliant.evaluation.codecs.vvc import VVC

FAMILIES = {
    family.name: family
    for family in (JPEG, WEBP, AVIF, JXL, JPEG2000, HEIC, VVC, PLIANT, COMPRESSAI)
}
# What a family is called at these settings. The first that fits is the name in tables.
_PRESETS: dict[str, tuple[str, Options]] = {
    "jpeg-420": ("jpeg", {"subsampling": "420"}),
    "jpeg-444": ("jpeg", {"subsampling": "444"}),
    "webp": ("webp", {}),
    "avif-444": ("avif", {"subsampling": "444"}),
    "avif-444-psnr": ("avif", {"subsampling": "444", "tune": "psnr"}),
    "avif-420": ("avif", {"subsampling": "420"}),
    "jxl": ("jxl", {}),
    "jpeg2000": ("jpeg2000", {}),
    "heic-420": ("heic", {"subsampling": "420"}),
    "heic-444": ("heic", {"subsampling": "444"}),
    "vvc": ("vvc", {}),
}
RIVALS = tuple(_PRESETS)


def find(name: str, *, threads: int = 1, separate_decoder: bool = True) -> ImageCodec:
    """The codec called `name`: NAME[:MODEL][@item,...] as in `spec`.

    NAME is one of `RIVALS` or a family; `jpeg`, `avif` and `heic` are 4:2:0, as programs write
    them by default. `pliant` can have a model, `compressai` must.

    Args:
        name: see above.
        threads: how many threads the codec may use, where it offers the choice.
        separate_decoder: decode Pliant's files in another process that has seen only the file.

    Raises:
        UsageError: no such codec, model, option, value or quality.
        MissingError: the codec needs a package that is not installed.
    """
    asked = spec.parse(name)
    family, preset = _family(asked.name)
    model = _model(family, asked.model)
    options = spec.read_options(family, asked.options, preset)
    reason = family.missing()
    if reason:
        raise MissingError(reason)
    threads = threads if family.threaded else 1
    coder = family.make(Request(model, options, threads, separate_decoder))
    search = coder.search or family.search
    spec.check_qualities(family, search, asked.qualities)
    return ImageCodec(
        name=spec.write(family, model, options, _presets(family)),
        label=family.label(model, options),
        version=coder.version,
        qualities=asked.qualities or coder.qualities or family.qualities,
        encode=coder.encode,
        decode=coder.decode,
        released=family.released,
        extension=family.extension,
        colour=family.colour(options),
        threads=threads,
        search=search,
        timing_only=coder.timing_only,
        note=coder.note,
    )


def available() -> list[tuple[str, str, str | None]]:
    """(name, label, why it cannot run here or None) of every codec; imports nothing heavy."""
    rows = []
    for name in (*RIVALS, PLIANT.name):
        family, preset = _family(name)
        options = spec.read_options(family, {}, preset)
        rows.append((name, family.label("", options), family.missing()))
    peers = COMPRESSAI.missing()
    options = spec.read_options(COMPRESSAI, {}, {})
    rows += [
        (f"{COMPRESSAI.name}:{model}", COMPRESSAI.label(model, options), peers)
        for model in COMPRESSAI.models
    ]
    return rows


def _family(name: str) -> tuple[Family, Options]:
    """The family that a name means, and the options that the name implies."""
    family, preset = _PRESETS.get(name, (name, {}))
    if family not in FAMILIES:
        known = dict.fromkeys((*RIVALS, *FAMILIES))
        raise UsageError(f"unknown codec {name!r}; known: {', '.join(known)}")
    return FAMILIES[family], preset


def _model(family: Family, asked: str) -> str:
    """The model of a request, checked; empty for the default."""
    if asked and not family.has_models:
        raise UsageError(f"{family.name} has no models, so nothing can follow its colon")
    if family.models and asked not in family.models:
        raise UsageError(
            f"{family.name} has no model {asked!r}; write {family.name}:MODEL with one of "
            f"{', '.join(family.models)}"
        )
    return "" if asked == "default" else asked


def _presets(family: Family) -> dict[str, Options]:
    return {name: preset for name, (of, preset) in _PRESETS.items() if of == family.name}
