"""Speed, memory and cold start of Pliant beside its rivals, in one run on an idle machine.

    python benchmarks/speed.py [--data DATA/kodak]

* Warm encode and decode of a 1920x1080 mosaic of photos; the rivals at nearly the same bytes. The
  codecs take turns; medians of all turns, and the fastest times, which say what the processor can
  do where neighbours on the same host disturb it.
* The arithmetic limit: what a 3x3 convolution of 64 channels at 1/4 of the resolution reaches here
  (float32, channels_last), divided by the multiplications per pixel that the model needs.
* Peak memory of fresh processes; cold start of `pliant decode` on a 768x512 file.
* The same speeds and peaks of Pliant for 24 megapixels, 6000x4000.

Writes `speed.json`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import command_line
import environment
import photos
from PIL import Image
from timing import Timing, repeat, time_codec, time_in_turns

import pliant
from pliant.codec import Codec
from pliant.evaluation import codecs
from pliant.evaluation.metrics import Pixels
from pliant.evaluation.search import at_size

RIVALS = ("jpeg-420", "webp", "avif-444", "jxl")
WIDTH, HEIGHT = 1920, 1080
KODAK_WIDTH, KODAK_HEIGHT = 768, 512
LARGE_WIDTH, LARGE_HEIGHT = 6000, 4000
# A peak is read from the new process itself: the kernel's ru_maxrss counts the parent before exec.
_PEAK = """
import sys
from pliant.cli.main import main
code = main()
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak[0].split()[1], file=sys.stderr)
raise SystemExit(code)
"""


def main() -> None:
    """Measures everything, prints a table and writes the JSON file."""
    parser = argparse.ArgumentParser(description="Speed, memory and cold start.")
    parser.add_argument("--data", type=Path, help="folder of photos; scikit-image's by default")
    parser.add_argument("--quality", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--turns", type=int, default=7, help="of each codec")
    parser.add_argument("--repeats", type=int, default=3, help="in each turn")
    parser.add_argument("--out", type=Path, default=environment.RESULTS)
    arguments = parser.parse_args()
    sources = list(photos.load(arguments.data, limit=24).values())
    result: dict[str, Any] = {
        "load_before": os.getloadavg()[0],
        "threads": arguments.threads,
        "quality": arguments.quality,
        "size": [WIDTH, HEIGHT],
    }
    pixels = photos.mosaic(sources, HEIGHT, WIDTH)
    codec = pliant.load()
    import torch  # after `pliant`, which sets up the process for it

    torch.set_num_threads(arguments.threads)
    result["limit"] = _limit(codec)
    result["codecs"] = _warm(pixels, arguments)
    result["codecs"]["pliant-float32"] = _float32(pixels, arguments)
    result["stages"] = _stages(codec, pixels, arguments.quality, arguments.turns)
    result["processes"] = {
        **_peaks(pixels),
        "cold_decode_seconds": _cold(photos.mosaic(sources, KODAK_HEIGHT, KODAK_WIDTH)),
    }
    result["large"] = _large(photos.mosaic(sources, LARGE_HEIGHT, LARGE_WIDTH), arguments)
    environment.write(arguments.out / "speed.json", result)
    _print(result)


def _limit(codec: Codec) -> dict[str, float]:
    """Convolution throughput here, and what it allows the model at most."""
    import torch

    from pliant.models.complexity import macs_per_pixel

    channels, height, width = 64, HEIGHT // 4, WIDTH // 4
    layout = torch.channels_last
    x = torch.rand(1, channels, height, width).contiguous(memory_format=layout)
    weight = torch.rand(channels, channels, 3, 3).contiguous(memory_format=layout)
    with torch.inference_mode():
        times = repeat(lambda: torch.nn.functional.conv2d(x, weight, padding=1), 20)
    gmacs = height * width * channels * channels * 9 / 1e9
    throughput = gmacs / statistics.median(times)
    limit = {"conv_gmacs_per_second": throughput}
    for side, macs in zip(("encode", "decode"), macs_per_pixel(codec.model), strict=True):
        limit[f"{side}_kmac_per_pixel"] = macs / 1e3
        limit[f"{side}_mps"] = throughput * 1e3 / macs
    return limit


def _float32(pixels: Pixels, arguments: argparse.Namespace) -> dict[str, Any]:
    """Pliant with its exact networks in float32 instead of int8 kernels: the same bytes."""
    import torch

    model = pliant.load().model
    fastest, model.dtype = model.dtype, torch.float32
    codec = codecs.find("pliant", threads=arguments.threads, separate_decoder=False)
    timing = time_codec(codec, pixels, arguments.quality, arguments.repeats)
    model.dtype = fastest
    return _row(codec, arguments.quality, timing) | {"label": "Pliant, float32"}


def _large(pixels: Pixels, arguments: argparse.Namespace) -> dict[str, Any]:
    """Pliant's speeds and peaks on a picture of many tiles."""
    codec = codecs.find("pliant", threads=arguments.threads, separate_decoder=False)
    timing = time_codec(codec, pixels, arguments.quality, arguments.repeats)
    height, width = pixels.shape[:2]
    return {
        "size": [width, height],
        "bytes": timing.bytes,
        "encode_mps": width * height / 1e6 / timing.encode_seconds,
        "decode_mps": width * height / 1e6 / timing.decode_seconds,
        **_peaks(pixels),
    }


def _row(codec: codecs.ImageCodec, quality: float, timing: Timing) -> dict[str, Any]:
    return {
        "label": codec.label,
        "version": codec.version,
        "quality": quality,
        **asdict(timing),
        **{
            f"{name}_mps": WIDTH * HEIGHT / 1e6 / getattr(timing, f"{name}_seconds")
            for name in ("encode", "decode", "fastest_encode", "fastest_decode")
        },
    }


def _warm(pixels: Pixels, arguments: argparse.Namespace) -> dict[str, Any]:
    threads, quality = arguments.threads, arguments.quality
    ours = codecs.find("pliant", threads=threads, separate_decoder=False)
    size = len(ours.encode(pixels, quality))
    jobs = {"pliant": (ours, float(quality))}
    for name in RIVALS:
        codec = codecs.find(name, threads=threads)
        jobs[name] = (codec, at_size(codec, pixels, size)[0])
    timings = time_in_turns(jobs, pixels, arguments.turns, arguments.repeats)
    return {name: _row(*jobs[name], timing) for name, timing in timings.items()}


def _stages(
    codec: Codec, pixels: Pixels, quality: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Median seconds per stage of the warm codec."""
    data = codec.encode(pixels, quality=quality)
    encodes: list[dict[str, float]] = [{} for _ in range(repeats)]
    decodes: list[dict[str, float]] = [{} for _ in range(repeats)]
    for encode, decode in zip(encodes, decodes, strict=True):
        codec.encode(pixels, quality=quality, timings=encode)
        codec.decode(data, timings=decode)
    return {
        name: {stage: statistics.median(t[stage] for t in timings) for stage in timings[0]}
        for name, timings in (("encode", encodes), ("decode", decodes))
    }


def _peaks(pixels: Pixels) -> dict[str, float]:
    """Peak memory of fresh processes that encode and decode a picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image, file, back = folder / "in.png", folder / "in.pli", folder / "back.png"
        Image.fromarray(pixels).save(image, compress_level=1)
        return {
            "peak_mb_encode": _peak_mb("encode", str(image), "-o", str(file)),
            "peak_mb_decode": _peak_mb("decode", str(file), "-o", str(back)),
        }


def _cold(pixels: Pixels) -> float:
    """Seconds of `pliant decode` in a fresh process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image, file, back = folder / "in.png", folder / "in.pli", folder / "back.png"
        Image.fromarray(pixels).save(image)
        command_line.call("encode", str(image), "-o", str(file))
        decode = ("decode", str(file), "-o", str(back), "--force")
        return statistics.median(repeat(lambda: command_line.call(*decode), 5))


def _peak_mb(*arguments: str) -> float:
    command = [sys.executable, "-c", _PEAK, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-1]) / 1024


def _print(result: dict[str, Any]) -> None:
    limit, processes = result["limit"], result["processes"]
    print(f"{WIDTH}x{HEIGHT}, {result['threads']} threads, load {result['load_before']:.2f} before")
    if result["load_before"] > 0.5:
        print("WARNING: other processes were busy; do not quote these timings")
    for row in result["codecs"].values():
        print(
            f"  {row['label']:20} quality {row['quality']:5.1f} {row['bytes']:8d} bytes"
            f"  encode {row['encode_mps']:7.2f} MP/s  decode {row['decode_mps']:7.2f} MP/s"
            f"  fastest {row['fastest_encode_mps']:7.2f}, {row['fastest_decode_mps']:7.2f}"
        )
    print(f"convolution {limit['conv_gmacs_per_second']:.0f} GMAC/s")
    for side in ("encode", "decode"):
        share = result["codecs"]["pliant"][f"{side}_mps"] / limit[f"{side}_mps"]
        print(
            f"  {side}: {limit[f'{side}_kmac_per_pixel']:.1f} kMAC/px allow"
            f" {limit[f'{side}_mps']:.1f} MP/s, reached {100 * share:.0f} %"
        )
        stages = sorted(result["stages"][side].items(), key=lambda item: -item[1])
        print("    " + ", ".join(f"{stage} {1e3 * t:.0f} ms" for stage, t in stages))
    print(
        f"peak memory: encode {processes['peak_mb_encode']:.0f} MB,"
        f" decode {processes['peak_mb_decode']:.0f} MB (fresh processes)\n"
        f"cold start of `pliant decode`, {KODAK_WIDTH}x{KODAK_HEIGHT}:"
        f" {processes['cold_decode_seconds']:.2f} s"
    )
    large = result["large"]
    print(
        f"{LARGE_WIDTH}x{LARGE_HEIGHT}: encode {large['encode_mps']:.2f} MP/s,"
        f" {large['peak_mb_encode']:.0f} MB, decode {large['decode_mps']:.2f} MP/s,"
        f" {large['peak_mb_decode']:.0f} MB"
    )


if __name__ == "__main__":
    main()
