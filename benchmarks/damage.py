"""Damaged and forged files must be refused: ``python benchmarks/damage.py``.

Ten small files are cut off at every byte, single bits are flipped at random, and their structure is
mutated with all checksums made right again (`mutations.py`). Each must end in a DamagedError, a
LimitError or a MissingError, or decode to the very picture of the original. A forger can also make
valid files that are different, and no reader can know; these two are counted on their own:

* metadata: ICC, EXIF and XMP hold any bytes, so changed blocks of them are other metadata;
* picture: the stream of another file whose header and alpha are the same, byte for byte.
"""

from __future__ import annotations

import argparse
import collections
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environment
import mutations
import numpy as np
import torch
from mutations import Mutant

from pliant.codec import Codec
from pliant.errors import DamagedError, LimitError, MissingError
from pliant.header import MAX_SIDE, Header, split_header, write_header, write_varint
from pliant.models import registry
from pliant.picture import Picture

REFUSALS = {DamagedError: "damaged", LimitError: "limit", MissingError: "missing"}
FINE = ("damaged", "limit", "missing", "same", "other metadata", "other picture")
SLOWEST = 5.0  # seconds of processor time, which a busy machine does not distort
MAX_PIXELS = 1 << 18
"""Pixel limit while decoding: headers that lie about the size must not cost hours."""


@dataclass
class Tally:
    """How the decodes of one kind of damage ended.

    Attributes:
        ends: outcome to number. worst: processor seconds of the slowest.
        failures: what must not happen.
    """

    ends: collections.Counter[str] = field(default_factory=collections.Counter)
    worst: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: str, seconds: float, what: str) -> None:
        """Counts one decode; `what` names the case if it went wrong."""
        self.ends[outcome] += 1
        self.worst = max(self.worst, seconds)
        if outcome not in FINE or seconds > SLOWEST:
            self.failures.append(f"{what}: {outcome} after {seconds:.1f} s")


def _metadata(picture: Picture) -> tuple[bytes | None, ...]:
    return picture.icc, picture.exif, picture.xmp


def _looks_like(picture: Picture, other: Picture) -> bool:
    """Whether colour and alpha are equal."""
    if picture.layout != other.layout or not np.array_equal(picture.pixels, other.pixels):
        return False
    if picture.alpha is None or other.alpha is None:
        return picture.alpha is other.alpha
    return bool(np.array_equal(picture.alpha, other.alpha))


def small_codec() -> Codec:
    """A codec of its own in float32, which is faster than int8 kernels on small pictures."""
    loaded = registry.load()
    loaded.model.dtype = torch.float32
    return Codec(loaded)


class Judge:
    """Decodes with a warm model and compares with what the files really hold."""

    def __init__(self, codec: Codec, files: dict[str, bytes]) -> None:
        self.codec = codec
        self.files = files
        self.truth = {name: codec.decode(data) for name, data in files.items()}

    def outcome(self, case: Mutant) -> str:
        """How decoding ends: one of FINE, or what went wrong."""
        try:
            picture = self.codec.decode(case.data)
        except tuple(REFUSALS) as error:
            return REFUSALS[type(error)]
        except Exception as error:  # whatever else is a finding
            return f"{type(error).__name__}: {error}"
        original = self.truth[case.origin]
        if _looks_like(picture, original):
            if _metadata(picture) == _metadata(original):
                return "same"
            return "other metadata" if case.free == "metadata" else "metadata changed unseen"
        donor = self.truth.get(case.donor)
        if donor is not None and _looks_like(picture, donor) and self._fits(case):
            return "other picture"
        return "a wrong picture"

    def _fits(self, case: Mutant) -> bool:
        """Whether origin and donor have the same header bytes."""
        heads = {write_header(split_header(self.files[n])[0]) for n in (case.origin, case.donor)}
        return len(heads) == 1

    def tally(self, cases: Iterator[Mutant]) -> dict[str, Tally]:
        """Decodes all cases, by kind."""
        found: dict[str, Tally] = collections.defaultdict(Tally)
        for case in cases:
            started = time.process_time()
            outcome = self.outcome(case)
            seconds = time.process_time() - started
            found[case.kind].add(outcome, seconds, f"{case.kind} of {case.origin}")
        return found


def truncations(files: dict[str, bytes]) -> Iterator[Mutant]:
    """Every file cut off before each of its bytes."""
    for name, data in files.items():
        for length in range(len(data)):
            yield Mutant("truncation", name, data[:length])


def flips(files: dict[str, bytes], count: int) -> Iterator[Mutant]:
    """Single bits flipped, checksums left as they are."""
    rng = np.random.default_rng(1)
    names = list(files)
    for _ in range(count):
        name = names[int(rng.integers(len(names)))]
        data = bytearray(files[name])
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        yield Mutant("bit flip", name, bytes(data))


def sealed(files: dict[str, bytes], count: int) -> Iterator[Mutant]:
    """Structured mutations with right checksums."""
    return (mutations.mutant(files, number) for number in range(count))


def bombs(model_id: bytes) -> dict[str, bytes]:
    """Tiny files that promise giants."""
    giant = write_varint(2**40)
    headers = {
        "2^31 x 2^31": Header(MAX_SIDE, MAX_SIDE, "RGBA", model_id, 1),
        "1 x 2^31": Header(1, MAX_SIDE, "L", model_id, 1),
        "2^31 x 2^31 in tiles": Header(MAX_SIDE, MAX_SIDE, "RGB", model_id, 1, 6),
        "65536 tiles": Header(16384, 16384, "RGB", model_id, 1, 6),
        "268 MP in one tile": Header(16384, 16384, "RGB", model_id, 1),
        "1 x 2^28 in tiles": Header(1, 2**28, "RGB", model_id, 1, 6),
        "picture of 2^40 bytes": Header(64, 64, "RGB", model_id, 1),
    }
    files = {name: write_header(header) for name, header in headers.items()}
    for name, data in files.items():
        kind = b"\x83" if "tiles" in name else b"\x82"
        files[name] = data + kind + giant + bytes(4) + b"x"
    files["profile of 2^40 bytes"] = (
        write_header(Header(64, 64, "RGB", model_id, 1)) + b"\x01" + giant + bytes(4)
    )
    return files


def refuse(data: bytes, folder: Path) -> dict[str, Any]:
    """What a fresh ``pliant decode`` does: exit code, whether it imported torch, seconds."""
    path = folder / "bomb.pli"
    path.write_bytes(data)
    code = (
        "import sys, time; started = time.perf_counter()\n"
        "from pliant.cli.main import main\n"
        f"code = main(['decode', {str(path)!r}, '--quiet'])\n"
        "print(code, 'torch' in sys.modules, time.perf_counter() - started)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, imported, seconds = done.stdout.split()
    return {
        "exit_code": int(exit_code),
        "torch": imported == "True",
        "seconds": round(float(seconds), 3),
        "left_behind": (folder / "bomb.png").exists(),
    }


def run(flip_count: int, sealed_count: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All cases; every number of the result file."""
    os.environ["PLIANT_MAX_PIXELS"] = str(MAX_PIXELS)
    codec = small_codec()
    files = mutations.samples(codec)
    judge = Judge(codec, files)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: dict[str, Tally] = {}
    for cases in (truncations(files), flips(files, flip_count), sealed(files, sealed_count)):
        found |= judge.tally(cases)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    del os.environ["PLIANT_MAX_PIXELS"]
    say("| damage | " + " | ".join(FINE) + " | wrong | slowest s |\n" + "|---" * 9 + "|")
    for kind, tally in found.items():
        numbers = [tally.ends[end] for end in FINE]
        cells = [kind, *map(str, numbers), str(len(tally.failures)), f"{tally.worst:.2f}"]
        say(f"| {' | '.join(cells)} |")
    with tempfile.TemporaryDirectory() as folder:
        made = bombs(codec.loaded.entry.model_id)
        refused = {name: refuse(data, Path(folder)) for name, data in made.items()}
    say("\n| bomb | exit code | imported torch | seconds |\n|---|---|---|---|")
    for name, end in refused.items():
        say(f"| {name} | {end['exit_code']} | {end['torch']} | {end['seconds']:.3f} |")
    return {
        "files": {name: len(data) for name, data in files.items()},
        "damage": {
            kind: {**tally.ends, "slowest_s": round(tally.worst, 3), "failures": tally.failures}
            for kind, tally in found.items()
        },
        "memory_growth_mib": round(grown / 1024, 1),
        "bombs": refused,
    }


def main() -> int:
    """Runs everything, prints tables, writes benchmarks/results/damage.json; 1 on a failure."""
    parser = argparse.ArgumentParser(description="Damaged and forged files must be refused.")
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--sealed", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=environment.RESULTS / "damage.json")
    args = parser.parse_args()
    result = run(args.flips, args.sealed, print)
    environment.write(args.output, result)
    failures = [line for kind in result["damage"].values() for line in kind["failures"]]
    print(f"\nmemory grew by {result['memory_growth_mib']} MiB; {len(failures)} failures")
    print("\n".join(failures[:20]))
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
