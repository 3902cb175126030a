"""The main path: image -> analysis -> symbols -> bytes, and back.

The only file that knows both the container and the model.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pliant import runtime

runtime.prepare()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from pliant import container, rate, tiles  # noqa: E402
from pliant.alpha import decode_alpha, encode_alpha, fill_transparent  # noqa: E402
from pliant.container import Container, Header  # noqa: E402
from pliant.entropy import rans  # noqa: E402
from pliant.errors import DamagedError, LimitError, MissingError, enough_memory  # noqa: E402
from pliant.header import write_header  # noqa: E402
from pliant.image import Source, read  # noqa: E402
from pliant.layers import loops  # noqa: E402
from pliant.layers.exact import RateVector  # noqa: E402
from pliant.limits import DEFAULT_DEMAND, Demand, check_limits  # noqa: E402
from pliant.models import registry  # noqa: E402
from pliant.models.blocks import analyse, block_side, padded, synthesise  # noqa: E402
from pliant.models.blocks import to_pixels as to_pixels  # noqa: E402
from pliant.models.blocks import to_tensor as to_tensor  # noqa: E402
from pliant.models.complexity import macs_per_pixel  # noqa: E402
from pliant.models.memory import bytes_per_pixel  # noqa: E402
from pliant.picture import Picture  # noqa: E402
from pliant.priors import walk  # noqa: E402
from pliant.units import RATE_MAX  # noqa: E402

if TYPE_CHECKING:
    from PIL import Image

DEFAULT_QUALITY = 50.0
_BEST = rate.Target(quality=rate.BEST_QUALITY)


class Codec:
    """A loaded model that encodes and decodes pictures."""

    def __init__(self, loaded: registry.Loaded) -> None:
        self.loaded = loaded
        self.model = loaded.model
        self.name = loaded.entry.name
        self.device = next(loaded.model.parameters()).device

    def encode(
        self,
        image: Source | Picture,
        *,
        quality: float | None = None,
        bpp: float | None = None,
        size: int | None = None,
        psnr: float | None = None,
        timings: runtime.Timings | None = None,
    ) -> bytes:
        """The .pli file of a picture, for exactly one target (quality 50 when none is given).

        Args:
            quality: 0 (smallest file) to 100 (best picture), continuous; with a lossless model
                beside this one, 100 loses nothing, and targets take it where it meets them best.
            bpp: at most so many bits of the file per pixel. size: at most so many bytes.
            psnr: the smallest file that reaches so many dB over RGB.
            timings: receives seconds per stage.

        Raises:
            UsageError: more than one target or one out of range.
            LimitError: a target cannot be met, or there is not enough memory.
        """
        if quality is bpp is size is psnr is None:
            quality = DEFAULT_QUALITY
        target = rate.Target(quality, bpp, size, psnr)
        target.check()
        picture = image if isinstance(image, Picture) else read(image)
        with _working():
            return self._encoded(picture, target, timings)

    def _encoded(
        self, picture: Picture, target: rate.Target, timings: runtime.Timings | None
    ) -> bytes:
        beside = self.loaded.entry.lossless
        if not beside:
            return _Encoding(self, picture, timings).run(target)

        def lossless() -> bytes:
            return _Encoding(load(beside, str(self.device)), picture, timings).run(_BEST)

        if target == _BEST:
            return lossless()
        try:
            data = _Encoding(self, picture, timings).run(target)
        except LimitError:
            if target.psnr is None:
                raise
            return lossless()
        budget = target.budget(picture.width * picture.height)
        if budget is None or container.read_header(data).rate > 0:
            return data
        whole = lossless()
        return whole if len(whole) <= budget else data

    def decode(self, data: bytes, *, timings: runtime.Timings | None = None) -> Picture:
        """The picture in a .pli file.

        Raises:
            DamagedError: the file is damaged. LimitError: it declares more than the limits allow.
            MissingError: it was written with another model.
        """
        codec = self._for(data)
        content = codec._checked(data)
        header = content.header
        alpha = None
        with _working():
            if header.has_alpha:
                alpha = decode_alpha(content.alpha, header.width, header.height)
            pixels = codec._decode_pixels(content, timings)
        return Picture(pixels, alpha, content.icc, content.exif, content.xmp)

    @functools.cached_property
    def demand(self) -> Demand:
        """What decoding with this model takes, for the limits."""
        if self.name == registry.DEFAULT and self.model.dtype == torch.uint8:
            return DEFAULT_DEMAND  # the time of counting is saved where it matters most
        work = macs_per_pixel(self.model)[1]
        return Demand(work, bytes_per_pixel(self.model), block_side(self.model))

    def decode_symbols(
        self, data: bytes, *, timings: runtime.Timings | None = None
    ) -> list[Tensor]:
        """What the synthesis gets: latents (1, C, h, w) of the padded picture, coarse first.

        Raises like `decode`.
        """
        codec = self._for(data)
        with _working():
            return codec._read_tiles(codec._checked(data), timings)

    def _for(self, data: bytes) -> Codec:
        """The codec that a file needs: the lossless one beside this one, or this one."""
        needed, beside = container.read_header(data).model_id, self.loaded.entry.lossless
        if needed == self.loaded.entry.model_id or not beside:
            return self
        return load(beside, str(self.device)) if needed == registry.entry(beside).model_id else self

    def _checked(self, data: bytes) -> Container:
        """The content of a file that this model can decode within the limits."""
        content = container.read(data)
        header = content.header
        check_limits(header, demand=self.demand)
        if header.model_id != self.loaded.entry.model_id:
            raise MissingError(f"the file needs the model {header.model_id.hex()}, not {self.name}")
        if header.rate > RATE_MAX:
            raise DamagedError(f"the model does not know the rate parameter {header.rate}")
        if len(header.adaptation) not in (0, self.model.adaptations):
            raise DamagedError("the model does not know how to adapt to the picture")
        if header.tile_log2 and (1 << header.tile_log2) % self.model.multiple:
            raise DamagedError(f"the model does not know tiles of 2**{header.tile_log2} pixels")
        return content

    def _read_tiles(self, content: Container, timings: runtime.Timings | None) -> list[Tensor]:
        header, model = content.header, self.model
        vector = vector_of(header, self.device)
        height, width = (padded(n, model.multiple) for n in (header.height, header.width))
        plan = tiles.plan(height, width, header.tile_log2)
        tables = model.tables_at(header.rate, self.loaded.tables)
        whole: list[Tensor] = []
        with runtime.stage(timings, "prior and coder"):
            for number, (tile, stream) in enumerate(zip(plan, content.tiles, strict=True)):
                start = _hash_start(header, content.alpha, number)
                size = (tile.height, tile.width)
                part = walk.read(model.prior, stream, size, vector, tables, start)
                if header.tile_count == 1:
                    return part
                # symbols fit into 16 bits: half the memory until the last tile has been read
                dtype = torch.int16 if model.integral else torch.float32
                whole = whole or tiles.canvas(part, tile, height, width, dtype)
                tiles.paste(whole, tile, height, part)
        return whole

    def _decode_pixels(self, content: Container, timings: runtime.Timings | None) -> np.ndarray:
        header = content.header
        symbols = self._read_tiles(content, timings)
        vector = vector_of(header, self.device)
        shape = header.height, header.width, header.channels
        with runtime.stage(timings, "synthesis"):
            return synthesise(self.model, symbols, vector, shape)


class _Encoding:
    """One picture on its way into a file; the analysis runs once, whatever the search tries."""

    def __init__(self, codec: Codec, picture: Picture, timings: runtime.Timings | None) -> None:
        self.codec, self.picture, self.timings = codec, picture, timings
        with runtime.stage(timings, "pixels"):
            self.pixels = picture.pixels
            if not codec.model.lossless:  # where nobody sees it, it may be anything else
                self.pixels = fill_transparent(picture.pixels, picture.alpha)
        with runtime.stage(timings, "analysis"):
            self.latents = analyse(codec.model, self.pixels, codec.device)
        multiple = codec.model.multiple
        self.height, self.width = (padded(n, multiple) for n in self.pixels.shape[:2])
        self.alpha = None if picture.alpha is None else encode_alpha(picture.alpha)
        self.log2 = tiles.tile_log2(picture.width, picture.height)
        self._files: dict[int, bytes] = {}

    def run(self, target: rate.Target) -> bytes:
        """The file that meets the target."""
        if target.quality is not None:
            return self.file_at(rate.to_rate(target.quality))
        if target.psnr is not None:
            return self.file_at(rate.coarsest_reaching(self._psnr_at, target.psnr))
        pixels = self.picture.width * self.picture.height
        budget = target.budget(pixels)
        assert budget is not None
        found = rate.largest_within(lambda r: len(self.file_at(r)), int(budget), pixels)
        return self.file_at(found)

    def _header(self, r: int, adaptation: Tensor | None) -> Header:
        numbers = [] if adaptation is None else adaptation[0].tolist()
        return Header(
            width=self.picture.width,
            height=self.picture.height,
            layout=self.picture.layout,
            model_id=self.codec.loaded.entry.model_id,
            rate=r,
            tile_log2=self.log2,
            portable=self.codec.model.portable,
            adaptation=tuple(n & 0xFFFF for n in numbers) if any(numbers) else (),
        )

    def file_at(self, r: int) -> bytes:
        """The file of a rate parameter, made once."""
        if r not in self._files:
            self._files[r] = self._made(r)
        return self._files[r]

    def _made(self, r: int) -> bytes:
        model = self.codec.model
        tables = model.tables_at(r, self.codec.loaded.tables)
        with runtime.stage(self.timings, "analysis"):
            vector = RateVector(torch.tensor([r], device=self.codec.device))
            vector = model.fitted(self.latents, vector)
            header = self._header(r, vector.adaptation)
        streams = []
        with runtime.stage(self.timings, "prior and coder"):
            for number, tile in enumerate(tiles.plan(self.height, self.width, self.log2)):
                part = model.scale(tiles.crop_all(self.latents, tile, self.height), vector)
                start = _hash_start(header, self.alpha, number)
                size = (tile.height, tile.width)
                stream = walk.write(model.prior, part, size, vector, tables, model.strength, start)
                streams.append(stream)
        p = self.picture
        return container.write(Container(header, tuple(streams), self.alpha, p.icc, p.exif, p.xmp))

    def _psnr_at(self, r: int) -> float:
        decoded = self.codec.decode(self.file_at(r)).pixels.astype(np.float64)
        error = float(np.mean((decoded - self.pixels) ** 2))
        return 99.0 if error == 0 else 10 * float(np.log10(255.0**2 / error))


def vector_of(header: Header, device: torch.device) -> RateVector:
    """What the model needs to know of the header; adaptations have a sign."""
    signed = [(n ^ 0x8000) - 0x8000 for n in header.adaptation]
    adaptation = torch.tensor([signed], device=device) if signed else None
    return RateVector(torch.tensor([header.rate], device=device), adaptation)


def _hash_start(header: Header, alpha: bytes | None, number: int) -> int:
    """Where the symbol hash of a tile starts: a stream fits only its own header, alpha and place.

    Hashes the bytes of the header, the CRC-32 of the alpha section and the number of the tile.
    """
    bound = write_header(header) + struct.pack("<II", zlib.crc32(alpha or b""), number)
    return rans.symbol_hash(np.frombuffer(bound, np.uint8).astype(np.int32))


def load(model: str = "default", device: str = "cpu") -> Codec:
    """A codec that keeps its model warm; the same object for the same weights and device.

    Raises:
        MissingError: weights are missing or wrong. UsageError: there is no such model or
            device.
    """
    chosen = registry.entry(model)
    return _load(chosen.name, chosen.sha256, device)


@contextlib.contextmanager
def _working() -> Iterator[None]:
    """Where torch works: without gradients, on threads that exist, and memory may be lacking."""
    loops.after_fork()
    with torch.inference_mode(), enough_memory():
        yield


@functools.lru_cache(maxsize=4)
def _load(name: str, _sha256: str, device: str) -> Codec:
    """Kept by the hash of the weights as well: an import may replace them under the same name."""
    loops.after_fork()
    return Codec(registry.load(name, device))


def model_for(data: bytes) -> Codec:
    """The codec that a file needs, limits checked before its weights are loaded."""
    header = container.read_header(data)
    check_limits(header)
    return load(registry.by_id(header.model_id).name)


def encode(image: Source | Picture, *, model: str = "default", **target: Any) -> bytes:
    """The .pli file of a picture; see `Codec.encode`."""
    return load(model).encode(image, **target)


def decode(data: bytes | str | os.PathLike[str]) -> Image.Image:
    """The picture in a .pli file, given as bytes or as a path, as a Pillow image."""
    from pliant.export import to_pil

    if not isinstance(data, (bytes, bytearray, memoryview)):
        with open(data, "rb") as stream:
            data = container.contents(stream)
    content = bytes(data)
    return to_pil(model_for(content).decode(content))
