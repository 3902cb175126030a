"""Files written under one setting, read under all others: are the symbols and tables the same?

    python benchmarks/exactness.py --data DATA/kodak

A setting is a process of its own: threads, memory layout, instruction sets, int8 or float32
kernels, oneDNN on or off, batch size, the coder in plain Python. Each reads every file, compares
the symbols and, for a corner of each picture, all probability tables. As a control the details of
the default model's two finest levels go through an ordinary float network (`float_prior.py`), which
must fail somewhere, or the harness proves nothing. Writes `benchmarks/results/exactness.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import environment
from exactness_job import Setting

from pliant.evaluation.pictures import images_in
from pliant.layers import int8
from pliant.models import registry, weights

WORKER = Path(__file__).with_name("exactness_worker.py")
COUNTS = ("symbols", "tables", "control symbols", "control tables")


def settings() -> list[Setting]:
    """All settings that this machine can run; the first one writes the files."""
    kernels = ["float32", *(["int8"] if int8.available() else [])]
    found: list[Setting] = []
    for kind in kernels:
        found += [
            Setting(f"{kind}, 1 thread", kind),
            Setting(f"{kind}, 2 threads", kind, threads=2),
            Setting(f"{kind}, NCHW", kind, layout="nchw"),
            Setting(f"{kind}, channels last", kind, layout="channels_last"),
            Setting(f"{kind}, batch 2", kind, batch=2),
            Setting(f"{kind}, batch 17", kind, batch=17),
        ]
        for isa in ("SSE41", "AVX2", "AVX512_CORE"):
            variables = {"ONEDNN_MAX_CPU_ISA": isa}
            found.append(Setting(f"{kind}, oneDNN limited to {isa}", kind, variables=variables))
        for capability in ("default", "avx2"):
            variables = {"ATEN_CPU_CAPABILITY": capability}
            found.append(
                Setting(f"{kind}, torch limited to {capability}", kind, variables=variables)
            )
    return [
        *found,
        Setting("float32, oneDNN off", onednn=False),
        Setting("float32, oneDNN off, batch 17", onednn=False, batch=17),
        Setting("float32, coder in plain Python", reference=True),
    ]


def work(setting: Setting, **job: Any) -> dict[str, Any]:
    """Runs one job in a process of this setting.

    Raises:
        subprocess.CalledProcessError: it failed; its message is on stderr.
    """
    limits = {**setting.variables, "OMP_NUM_THREADS": str(setting.threads)}
    done = subprocess.run(
        [sys.executable, str(WORKER), json.dumps(dataclasses.asdict(setting) | job)],
        env={**os.environ, **limits},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def compare(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """How many files differ from the first setting, of how many; the control's beside them."""
    counts: dict[str, Any] = {"self_check": found["self_check"] == expected["self_check"]}
    for kind in COUNTS:
        pairs = found[kind].items()
        counts[kind] = sum(value != expected[kind][name] for name, value in pairs)
    counts["files"] = len(found["symbols"])
    return counts


def weights_of(model: str, path: Path) -> str:
    """Puts the weights of a model into `path`; random ones where none are installed."""
    entry = registry.entry(model)
    if entry.file and entry.path.exists():
        path.write_bytes(entry.path.read_bytes())
        return entry.sha256[:8]
    weights.save(entry.build(**entry.config).eval(), model, entry.config, path)
    return "random"


def main() -> None:
    """Measures all settings and writes the result."""
    arguments = _parser().parse_args()
    pictures = [str(p.resolve()) for p in images_in(arguments.data)[: arguments.limit]]
    chosen = settings()
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        identity = weights_of(arguments.model, Path(folder) / "weights.safetensors")
        job = {"folder": folder, "model": arguments.model}
        work(chosen[0], task="write", pictures=pictures, qualities=arguments.qualities, **job)
        expected: dict[str, Any] = {}
        for setting in chosen:
            start = time.perf_counter()
            found = work(setting, task="read", **job)
            expected = expected or found
            rows[setting.name] = compare(expected, found)
            print(_line(setting.name, rows[setting.name], time.perf_counter() - start), flush=True)
    failures = sum(r["symbols"] + r["tables"] + (not r["self_check"]) for r in rows.values())
    control = sum(r["control symbols"] + r["control tables"] for r in rows.values())
    summary = {"exact failures": failures, "control failures": control}
    print(f"\nexact: {failures} mismatches; float control: {control} mismatches")
    head = {"model": arguments.model, "weights": identity, "qualities": arguments.qualities}
    result = {**head, "pictures": [Path(p).name for p in pictures], **summary, "settings": rows}
    environment.write(arguments.out, result)
    if failures or not control:
        sys.exit("the promise is broken" if failures else "the control did not fail: no proof")


def _line(name: str, row: dict[str, Any], seconds: float) -> str:
    check = "ok" if row["self_check"] else "DIFFERS"
    exact, control = (f"{row[a]:3d} {row[b]:3d}" for a, b in (COUNTS[:2], COUNTS[2:]))
    return (
        f"{name:38s} of {row['files']:3d} files: symbols, tables {exact}   self-check {check:8s}"
        f" control {control}   {seconds:5.1f} s"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of images")
    parser.add_argument("--limit", type=int, help="only so many images")
    parser.add_argument("--qualities", type=float, nargs="+", default=[10, 50, 90])
    parser.add_argument("--model", default="default", help="which of Pliant's models")
    parser.add_argument("--out", type=Path, default=environment.RESULTS / "exactness.json")
    return parser


if __name__ == "__main__":
    main()
