"""Speed of Pliant beside learned peers, AVIF and JPEG XL, in one run on an idle machine.

    python benchmarks/peers.py [--data DATA/kodak]

The peers are CompressAI's bmshj2018-hyperprior and mbt2018-mean with their own coder, at both sizes
that were released (those of quality 4 and of quality 8). A picture of 1920x1080, which takes them
long, is timed once, with the smallest of them. Their weights are random, which leaves the
work of the networks as it is and makes the rate arbitrary: the standard deviation of the latents is
chosen such that their rate is near Pliant's. AVIF and JPEG XL have its bytes too. What the networks
of a peer's decoder need without any coder is timed apart.

Prints a table, with times relative to Pliant's, and writes `peers.json`.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import environment
import photos
from timing import repeat, time_codec

from pliant.errors import MissingError
from pliant.evaluation import codecs
from pliant.evaluation.codecs import ImageCodec, peers
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.search import at_size

PEERS = tuple(
    (architecture, quality)
    for architecture in ("bmshj2018-hyperprior", "mbt2018-mean")
    for quality in (4, 8)
)
RIVALS = ("avif-444", "jxl")
DEVIATIONS = (0.1, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.2, 3.3, 5.0)
PHOTO_SIZE, MOSAIC_SIZE = (512, 768), (1080, 1920)  # height, width

Peer: TypeAlias = tuple[str, int]  # architecture and quality


@dataclass(frozen=True)
class Line:
    """A codec on a picture: medians in seconds, warm.

    network_seconds: of what a peer's decoder does without its coder.
    encode_ratio, decode_ratio: to Pliant; above 1 is slower.
    """

    picture: str
    label: str
    version: str
    bpp: float
    encode_seconds: float
    decode_seconds: float
    network_seconds: float | None = None
    encode_ratio: float = 1.0
    decode_ratio: float = 1.0


def main() -> None:
    """Measures everything, prints a table and writes the JSON file."""
    parser = argparse.ArgumentParser(description="Speed beside learned peers.")
    parser.add_argument("--data", type=Path, help="folder of photos; scikit-image's by default")
    parser.add_argument("--quality", type=int, default=50, help="Pliant's, which sets the bytes")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=environment.RESULTS)
    arguments = parser.parse_args()
    try:
        codecs.find(_name(PEERS[0][0]))
    except MissingError as error:
        print(f"benchmarks/peers.py is left out: {error}")
        return
    load = os.getloadavg()[0]
    lines = list(_measure(arguments))
    result = {
        "load_before": load,
        "threads": arguments.threads,
        "quality": arguments.quality,
        "repeats": arguments.repeats,
        "lines": [asdict(line) for line in lines],
    }
    environment.write(arguments.out / "peers.json", result)
    _print(lines, arguments.threads, load)


def _measure(arguments: argparse.Namespace) -> Iterator[Line]:
    sources = list(photos.load(arguments.data, limit=24).values())
    # The first photo alone is the small picture where it has that size.
    photo, mosaic = photos.mosaic(sources[:1], *PHOTO_SIZE), photos.mosaic(sources, *MOSAIC_SIZE)
    threads = arguments.threads
    ours = codecs.find("pliant", threads=threads, separate_decoder=False)
    size = len(ours.encode(photo, arguments.quality))
    deviations = {peer: _deviation(*peer, photo, size, threads) for peer in PEERS}
    smallest = {peer: deviations[peer] for peer in PEERS[:1]}
    for kind, pixels, chosen, repeats in (
        ("photo", photo, deviations, arguments.repeats),
        ("mosaic", mosaic, smallest, 1),
    ):
        picture = f"{kind}, {pixels.shape[1]}x{pixels.shape[0]}"
        own = _line(picture, ours, pixels, arguments.quality, repeats)
        yield own
        size = len(ours.encode(pixels, arguments.quality))
        for line in _others(picture, pixels, size, chosen, repeats, threads):
            yield replace(
                line,
                encode_ratio=line.encode_seconds / own.encode_seconds,
                decode_ratio=line.decode_seconds / own.decode_seconds,
            )


def _others(
    picture: str,
    pixels: Pixels,
    size: int,
    deviations: Mapping[Peer, float],
    repeats: int,
    threads: int,
) -> Iterator[Line]:
    for name in RIVALS:
        rival = codecs.find(name, threads=threads)
        yield _line(picture, rival, pixels, at_size(rival, pixels, size)[0], repeats)
    for (architecture, quality), deviation in deviations.items():
        codec = codecs.find(_name(architecture, deviation), threads=threads)
        line = _line(picture, codec, pixels, quality, repeats)
        network = peers.network(architecture, quality, None, deviation)
        yield replace(
            line,
            label=f"CompressAI {architecture}, N{network.N} M{network.M}",
            network_seconds=_network_seconds(network, pixels, repeats),
        )


def _line(picture: str, codec: ImageCodec, pixels: Pixels, quality: float, repeats: int) -> Line:
    timing = time_codec(codec, pixels, quality, repeats)
    bpp = 8 * timing.bytes / (pixels.shape[0] * pixels.shape[1])
    times = timing.encode_seconds, timing.decode_seconds
    return Line(picture, codec.label, codec.version, bpp, *times)


def _name(architecture: str, deviation: float = 1.0) -> str:
    return f"compressai:{architecture}@weights={peers.RANDOM},deviation={deviation!r}"


def _deviation(architecture: str, quality: int, pixels: Pixels, size: int, threads: int) -> float:
    """Of the latents, such that the file comes near `size` bytes."""

    def encode(pixels: Pixels, deviation: float) -> bytes:
        return codecs.find(_name(architecture, deviation), threads=threads).encode(pixels, quality)

    codec = replace(codecs.find(_name(architecture)), encode=encode, search=DEVIATIONS)
    return at_size(codec, pixels, size)[0]


def _network_seconds(network: Any, pixels: Pixels, repeats: int) -> float:
    """Of the synthesis and the hyper synthesis."""
    import torch

    height, width = (-(-side // 64) for side in pixels.shape[:2])
    z = torch.zeros(1, network.N, height, width)
    y = torch.zeros(1, network.M, 4 * height, 4 * width)
    with torch.inference_mode():
        return statistics.median(repeat(lambda: (network.h_s(z), network.g_s(y)), repeats))


def _print(lines: list[Line], threads: int, load: float) -> None:
    print(
        f"Warm medians (of 1920x1080 one run), {threads} threads, load {load:.2f} before; × is"
        " relative to Pliant.\n"
    )
    if load > 0.5:
        print("WARNING: other processes were busy; do not quote these timings\n")
    print("| picture | codec | bpp | encode, s | × | decode, s | × | its networks alone, s | × |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    own: dict[str, Line] = {}
    for line in lines:
        pliant = own.setdefault(line.picture, line)  # comes first
        networks = "– | –"
        if line.network_seconds is not None:
            ratio = line.network_seconds / pliant.decode_seconds
            networks = f"{line.network_seconds:.3f} | {ratio:.2f}"
        print(
            f"| {line.picture} | {line.label} | {line.bpp:.3f} | {line.encode_seconds:.3f}"
            f" | {line.encode_ratio:.2f} | {line.decode_seconds:.3f} | {line.decode_ratio:.2f}"
            f" | {networks} |"
        )


if __name__ == "__main__":
    main()
