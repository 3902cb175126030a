"""Speed and rate of the entropy coder on one thread: ``python benchmarks/entropy.py``.

Symbols are drawn from the model itself; scales follow a smooth random field, as in pictures, or
are independent (the worst case for branch prediction).  Symbols on the trellis are what the
encoder's search chooses for latents of the same scales and means; their ideal is that of the
distribution, not of the tables.  Speeds are the best of several runs and hold for one machine: the
copy of the symbols and constriction, timed in the same run, are what to compare with.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import environment
import numpy as np
import numpy.typing as npt
import torch

from pliant.entropy import SCALES, Decoder, Encoder, Tables, encode, laplace_scale, symbol_hash
from pliant.entropy.tables import SYMBOL_LIMIT
from pliant.layers import trellis

Array = npt.NDArray[Any]
SIDE = 1024
RUNS = 7
PEER_SYMBOLS = 1 << 17  # constriction is slow: a part is enough
# name: (mean scale index, its spread, smooth field)
CASES = {
    "thumbnail": (2.0, 3.0, True),
    "low": (8.0, 5.0, True),
    "medium": (13.0, 6.0, True),
    "high": (20.0, 7.0, True),
    "lossless": (34.0, 8.0, True),
    "medium, independent": (13.0, 6.0, False),
    "high, independent": (20.0, 7.0, False),
    "all scales, independent": (32.0, 18.0, False),
}
COLD = """
import time; start = time.perf_counter()
import numpy as np; from pliant.entropy import *
tables = Tables.laplace(); tables.lookup; q = np.zeros(9, np.int32)
s, m = q.astype(np.uint8), q.astype(np.int16); begin = time.perf_counter()
data = encode(q, s, m, tables, checksum=symbol_hash(q)); Decoder(data, tables).read(s, m)
print(time.perf_counter() - begin)
"""


def scale_field(centre: float, spread: float, smooth: bool, rng: np.random.Generator) -> Array:
    """uint8 [SIDE * SIDE]: Gaussian scale indices, low-pass filtered (16 symbols) if smooth."""
    noise = rng.standard_normal((SIDE, SIDE))
    if smooth:
        frequency = np.fft.fftfreq(SIDE)
        filter_ = np.exp(-((16 * frequency) ** 2))
        noise = np.fft.ifft2(np.fft.fft2(noise) * filter_ * filter_[:, None]).real
        noise /= noise.std()
    index: Array = np.clip(np.rint(centre + spread * noise), 0, SCALES - 1).astype(np.uint8)
    return index.ravel()


def latents(centre: float, spread: float, smooth: bool) -> tuple[Array, Array, Array]:
    """Symbols, scale indices and means; means are small where symbols are."""
    rng = np.random.default_rng(1)
    scale = scale_field(centre, spread, smooth, rng)
    b = laplace_scale(scale)
    mean = np.clip(np.rint(8 * rng.laplace(0, b)), -32768, 32767).astype(np.int16)
    return np.rint(mean / 16 + rng.laplace(0, b)).astype(np.int32), scale, mean


def seconds(function: Callable[[], Any], runs: int = RUNS) -> float:
    """Best of several runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def peer(symbols: Array, scale: Array, mean: Array) -> dict[str, float]:
    """constriction's ANS coder with its quantised Laplacian, or nothing if it is not installed."""
    try:
        import constriction
    except ImportError:
        return {}
    stack = constriction.stream.stack
    symbols, means, scales = symbols[:PEER_SYMBOLS], mean[:PEER_SYMBOLS] / 16, scale[:PEER_SYMBOLS]
    b = laplace_scale(scales)
    # It spends probability on every symbol of its range: give it the narrowest.
    model = constriction.stream.model.QuantizedLaplace(int(symbols.min()), int(symbols.max()))
    coder = stack.AnsCoder()
    coder.encode_reverse(symbols, model, means, b)
    words = coder.get_compressed()
    return {
        "constriction_bytes": 4.0 * len(words),
        "constriction_encode": len(symbols)
        / seconds(lambda: stack.AnsCoder().encode_reverse(symbols, model, means, b), 2)
        / 1e6,
        "constriction_decode": len(symbols)
        / seconds(lambda: stack.AnsCoder(words).decode(model, means, b), 2)
        / 1e6,
    }


def measure(name: str, tables: Tables) -> dict[str, Any]:
    """One case: Msymbol/s each way and bytes over the ideal of the exact tables."""
    symbols, scale, mean = latents(*CASES[name])
    count = len(symbols)
    checksum = symbol_hash(symbols)
    data = encode(symbols, scale, mean, tables, checksum=checksum)

    def decode() -> Array:
        decoder = Decoder(data, tables)
        result = decoder.read(scale, mean)
        assert decoder.finish() == checksum
        return result

    assert np.array_equal(decode(), symbols)
    ideal = float(tables.bits(symbols, scale, mean).sum()) / 8
    part = slice(PEER_SYMBOLS)
    return {
        "case": name,
        "zeros": float(np.mean(symbols == 0)),
        "bits_per_symbol": 8 * ideal / count,
        "over_ideal_percent": 100 * (len(data) / ideal - 1),
        "over_ideal_bytes": len(data) - ideal,
        "encode": count / seconds(lambda: encode(symbols, scale, mean, tables)) / 1e6,
        "decode": count / seconds(decode) / 1e6,
        "hash": count / seconds(lambda: symbol_hash(symbols)) / 1e6,
        "copy": count / seconds(symbols.copy) / 1e6,
        "part_bytes": len(encode(symbols[part], scale[part], mean[part], tables)),
        **peer(symbols, scale, mean),
    }


def measure_trellis(name: str, tables: Tables) -> dict[str, float]:
    """The same scales and means on the trellis: Msymbol/s, of the search too, and the rate."""
    _, scale, mean = latents(*CASES[name])
    noise = np.random.default_rng(2).laplace(0, 2 * laplace_scale(scale))
    y, means, indices = (
        torch.from_numpy(x).view(1, 1, SIDE, SIDE)
        for x in ((mean / 8 + noise).astype(np.float32), mean, scale)
    )

    def search() -> torch.Tensor:
        return trellis.choose(y, means, indices, 1.0, SYMBOL_LIMIT // 2)

    def encode_values() -> bytes:
        encoder = Encoder(tables)
        encoder.add(symbols, scale, mean, on_trellis=True)
        return encoder.finish(encoder.hash)

    def decode() -> Array:
        decoder = Decoder(data, tables)
        result = decoder.read(scale, mean, on_trellis=True)
        decoder.finish(decoder.hash)
        return result

    values = search()
    symbols, count = values.numpy().ravel(), len(scale)
    data = encode_values()
    assert np.array_equal(decode(), symbols)
    ideal = float(trellis.bits(values, means.float(), indices.float()).double().sum()) / 8
    return {
        "trellis_bits_per_symbol": 8 * len(data) / count,
        "trellis_over_ideal_percent": 100 * (len(data) / ideal - 1),
        "trellis_encode": count / seconds(encode_values) / 1e6,
        "trellis_decode": count / seconds(decode) / 1e6,
        "trellis_search": count / seconds(search) / 1e6,
    }


def cold_start() -> float:
    """Seconds to the first coded symbol in a fresh process, kernels cached, numba's import in."""
    command = [sys.executable, "-c", COLD]
    return min(float(subprocess.check_output(command, text=True)) for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    target = environment.RESULTS / "entropy.json"
    parser.add_argument("-o", "--output", type=Path, default=target)
    output = parser.parse_args().output
    torch.set_num_threads(1)
    tables = Tables.laplace()
    rows = []
    print("Msymbol/s              zeros  bit/sym  over ideal  encode  decode  hash  copy | peer")
    print("  on the trellis              bit/sym  over ideal  encode  decode  search")
    for name in CASES:
        row = measure(name, tables) | measure_trellis(name, tables)
        rows.append(row)
        print(
            f"{name:23}{row['zeros']:5.3f}{row['bits_per_symbol']:9.3f}"
            f"{row['over_ideal_percent']:10.3f} %{row['encode']:8.0f}{row['decode']:8.0f}"
            f"{row['hash']:6.0f}{row['copy']:6.0f} | {row.get('constriction_encode', 0):.1f} "
            f"{row.get('constriction_decode', 0):.1f}, our bytes / peer's "
            f"{row['part_bytes'] / row.get('constriction_bytes', float('nan')):.4f}"
        )
        print(
            f"{'':28}{row['trellis_bits_per_symbol']:9.3f}"
            f"{row['trellis_over_ideal_percent']:10.3f} %{row['trellis_encode']:8.0f}"
            f"{row['trellis_decode']:8.0f}{row['trellis_search']:8.0f}",
            flush=True,
        )
    cold = cold_start()
    print(f"first coded symbol of a process: {cold:.2f} s")
    environment.write(output, {"cold_start_seconds": cold, "cases": rows})


if __name__ == "__main__":
    main()
