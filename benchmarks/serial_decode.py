"""The autoregressive prior's serial decoding beside CompressAI's, with the same weights.

    python benchmarks/serial_decode.py

Both have mbt2018 in its smaller released size, with random weights whose latents are spread enough
to need many bits, and decode their own file of the same crop; times of both alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import environment
import photos
import torch

from pliant.codec import Codec
from pliant.evaluation.codecs import peers
from pliant.imported import VARIABLE
from pliant.models import importing, registry

SIDE = 256
DEVIATION = 3.0  # of latents
RESULT = environment.RESULTS / "serial-decode.json"


def main() -> None:
    """Times both, prints and writes the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    load = os.getloadavg()[0]
    pixels = photos.mosaic(list(photos.load(None, limit=1).values()), SIDE, SIDE)
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    network = _network(image)
    codec = _ours(network)
    theirs, ours = network.compress(image), codec.encode(pixels)
    jobs: dict[str, Callable[[], object]] = {
        "compressai": lambda: network.decompress(theirs["strings"], theirs["shape"]),
        "pliant": lambda: codec.decode(ours),
    }
    seconds = _alternating(jobs, chosen.repeats)
    result: dict[str, Any] = {
        "load_before": load,
        "threads": chosen.threads,
        "side": SIDE,
        "bytes": {"compressai": sum(len(s[0]) for s in theirs["strings"]), "pliant": len(ours)},
        "seconds": {name: [round(s, 3) for s in found] for name, found in seconds.items()},
    }
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    result["ratio"] = round(medians["compressai"] / medians["pliant"], 2)
    environment.write(RESULT, result)
    print(json.dumps(result))


def _network(image: torch.Tensor) -> Any:
    """CompressAI's mbt2018 with latents of a real rate, and scales that expect it."""
    zoo = peers.import_zoo()
    torch.manual_seed(1)
    network = zoo.model_architectures["mbt2018"](*zoo.cfgs["mbt2018"][1]).eval()
    with torch.no_grad():
        factor = DEVIATION / network.g_a(image).std()
        network.g_a[6].weight *= factor
        network.g_a[6].bias *= factor
        bias = network.entropy_parameters[4].bias
        bias[: len(bias) // 2] += DEVIATION
    network.update()
    return network


def _ours(network: Any) -> Codec:
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = folder
        checkpoint = Path(folder) / "theirs.pth.tar"
        torch.save(network.state_dict(), checkpoint)
        importing.install(importing.read(checkpoint), "theirs", Path(folder))
        return Codec(registry.load("theirs"))


def _alternating(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call, after an unmeasured one of each."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(repeats + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
