"""Whether the anchors on Kodak's photos are what others measured at equal rate.

    python benchmarks/agreement.py --data DATA/kodak [--earlier FILE]

Prints, per codec, the largest difference in PSNR between its mean curve and a published one, with
the settings of our table and then with those of the publication, which tells how much of it is a
matter of settings. FILE is a collection of earlier measurements with our settings,
{name: {bpp: [...], psnr: [...]}}. The rows of the table are kept in `.cache/evaluation`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import environment

from pliant.errors import MissingError
from pliant.evaluation import codecs, curves, metrics, published
from pliant.evaluation.codecs import through_pillow
from pliant.evaluation.curves import Curve
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.pictures import images_in, read_rgb
from pliant.evaluation.run import evaluate

CLOSE = 0.1  # dB
# Names in the file of earlier measurements.
EARLIER = {
    "jpeg-420": "jpeg@pillow-optimize-420",
    "jpeg-444": "jpeg@pillow-optimize-444",
    "webp": "webp@m6",
    "jpeg2000": "jpeg2000@pillow-irrev",
    "avif-444": "avif@s6-444",
    "avif-444-psnr": "avif@s6-444-tunepsnr",
    "avif-420": "avif@s6-420",
    "jxl": "jxl@e7",
    "heic-420": "heic@x265-420",
    "heic-444": "heic@x265-444",
    "vvc": "vvc-intra@vvenc-fast-420",
}


@dataclass(frozen=True)
class Published:
    """A published curve, and how to measure it again.

    Attributes:
        ours: the codec of our table that is nearest.
        settings: those of the publication, in words.
        encode: takes pixels and a quality; returns the file and what it decodes to.
    """

    name: str
    ours: str
    settings: str
    qualities: tuple[float, ...]
    encode: Callable[[Pixels, float], tuple[bytes, Pixels]]


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of Kodak's 24 photos")
    parser.add_argument("--earlier", type=Path, help="JSON file of earlier measurements")
    parser.add_argument("--limit", type=int, help="only the first images, to try the script")
    arguments = parser.parse_args()
    paths = images_in(arguments.data)[: arguments.limit]
    rows = evaluate(list(EARLIER), paths, environment.cache(arguments.data), metrics=("psnr",))
    ours = {name: curves.mean_curve(group) for name, group in curves.by_codec(rows).items()}
    if arguments.earlier:
        print("| codec | earlier measurement | points | largest difference, dB | |")
        print("|---|---|--:|--:|---|")
        for line in _earlier(ours, arguments.earlier):
            print(line)
        print()
    print("| published curve | measured as | largest difference, dB | |")
    print("|---|---|--:|---|")
    for line in _published(ours, [read_rgb(path) for path in paths]):
        print(line)


def _earlier(ours: dict[str, Curve], file: Path) -> Iterator[str]:
    known = json.loads(file.read_text())
    for name, reference in EARLIER.items():
        entry = known[reference]
        curve = Curve(tuple(entry["bpp"]), {"psnr": tuple(entry["psnr"])})
        yield f"| {name} | {reference} | {len(curve.bpp)} | {_judged(ours[name], curve)} |"


def _published(ours: dict[str, Curve], pictures: Sequence[Pixels]) -> Iterator[str]:
    for entry in PUBLISHED:
        reference = published.find(entry.name).curve
        label = codecs.find(entry.ours).label
        yield f"| {entry.name} | our {label} | {_judged(ours[entry.ours], reference)} |"
        try:
            again = _curve(entry, pictures)
        except MissingError as error:
            yield f"| {entry.name} | {entry.settings} | – | {error} |"
            continue
        yield f"| {entry.name} | {entry.settings} | {_judged(again, reference)} |"


def _judged(curve: Curve, reference: Curve) -> str:
    gap = curves.largest_gap(curve, reference)
    if gap is None:
        return "– | no rate in common"
    return f"{gap:.4f} | " + (f"within {CLOSE}" if gap <= CLOSE else "")


def _curve(entry: Published, pictures: Sequence[Pixels]) -> Curve:
    """The mean curve with the settings of the publication."""
    points = []
    for quality in entry.qualities:
        found = [(pixels, *entry.encode(pixels, quality)) for pixels in pictures]
        bpp = statistics.fmean(8 * len(data) / pixels[..., 0].size for pixels, data, _ in found)
        points.append((bpp, statistics.fmean(metrics.psnr(p, back) for p, _, back in found)))
    rates, values = zip(*sorted(points), strict=True)
    return Curve(rates, {"psnr": values})


def _through_pillow(format_: str, pixels: Pixels, quality: float) -> tuple[bytes, Pixels]:
    """As Pillow writes it when only the quality is given."""
    data = through_pillow.save(pixels, format_, quality=round(quality))
    return data, through_pillow.load(data)


def _through_ffmpeg(pixels: Pixels, quality: float) -> tuple[bytes, Pixels]:
    """JPEG 2000 of 8-bit YCbCr in limited range; half the compression ratio is the quality."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingError("this needs imageio-ffmpeg: pip install 'pliant[eval]'") from error
    call = partial(subprocess.run, check=True)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error"]
    options = ("-pix_fmt", "yuv444p", "-c:v", "libopenjpeg", "-compression_level", f"{quality:g}")
    with tempfile.TemporaryDirectory() as folder:
        original, file, back = (Path(folder) / name for name in ("a.png", "a.jp2", "b.png"))
        original.write_bytes(through_pillow.save(pixels, "PNG"))
        call([*command, "-i", original, *options, file])
        call([*command, "-i", file, back])
        return file.read_bytes(), read_rgb(back)


PUBLISHED = (
    Published(
        "JPEG",
        "jpeg-420",
        "4:2:0, Huffman tables of the standard",
        (5, 15, 35, 60, 80, 95),
        partial(_through_pillow, "JPEG"),
    ),
    Published("WebP", "webp", "method 4", (5, 25, 50, 75, 95), partial(_through_pillow, "WEBP")),
    Published(
        "JPEG2000",
        "jpeg2000",
        "ffmpeg's libopenjpeg, 8-bit YCbCr 4:4:4, limited range",
        (5, 10, 40, 95),
        _through_ffmpeg,
    ),
)


if __name__ == "__main__":
    main()
