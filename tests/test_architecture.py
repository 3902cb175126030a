"""The rules of docs/architecture.md, checked on the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pytest

import pliant
from pliant.container import Container, write
from pliant.header import Header

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "pliant"

# Files, metadata and rate numbers: what `info` needs, and more, works without torch.
FILE_UNITS = frozenset(
    {
        "alpha",
        "container",
        "export",
        "files",
        "header",
        "image",
        "imported",
        "limits",
        "metadata",
        "modes",
        "picture",
        "rate",
        "summary",
        "units",
    }
)
# From the bottom to the top. A module imports what stands lower, or beside it without a cycle.
LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "runtime"}),
    frozenset({"layers", "entropy"}) | FILE_UNITS,
    frozenset({"transforms", "priors"}),
    frozenset({"tiles", "models"}),
    frozenset({"codec", "evaluation", "training"}),
    frozenset({"pillow"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
TORCH_FREE = FILE_UNITS | {"errors", "entropy.tables"}
PUBLIC = {
    "Codec",
    "DamagedError",
    "LimitError",
    "MissingError",
    "PliantError",
    "UsageError",
    "__version__",
    "decode",
    "encode",
    "info",
    "load",
    "register_pillow",
}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 450, 60


def module_name(path: Path) -> str:
    """The dotted name below `pliant`; the empty string for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
OWN = sorted(
    path for folder in ("src", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")
)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> Iterator[str]:
    """Every absolute name that a file imports, also inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(name: str) -> set[str]:
    """The modules of `pliant` that one of them imports, as names below `pliant`."""
    found = set()
    for target in imported(MODULES[name]):
        inner = target.removeprefix("pliant").removeprefix(".")
        if target == "pliant" or target.startswith("pliant."):
            found.add(inner if inner in MODULES else inner.rpartition(".")[0])
    return found


def level(name: str) -> int:
    unit = name.partition(".")[0]
    found = [number for number, units in enumerate(LEVELS) if unit in units]
    assert found, f"{unit} has no level yet: give it one in LEVELS and in docs/architecture.md"
    return found[0]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {""}))
def test_imports_point_downwards(name: str) -> None:
    for target in imported_modules(name):
        # The package itself is the public face: what it offers comes from `codec` and below.
        allowed = level(name) >= level("codec") if target == "" else level(target) <= level(name)
        assert allowed, f"{name} imports {target or 'pliant'}, which stands higher"


def test_imports_have_no_cycle() -> None:
    graph = {name: imported_modules(name) - {"", name} for name in MODULES if name}
    TopologicalSorter(graph).prepare()


def test_only_the_codec_knows_container_and_models() -> None:
    both = [
        name
        for name in MODULES
        if name
        and {"container", "models"} <= {used.partition(".")[0] for used in imported_modules(name)}
    ]
    assert set(both) <= {"codec"}


@pytest.mark.parametrize("name", sorted(TORCH_FREE & MODULES.keys()))
def test_torch_free_modules_never_import_torch(name: str) -> None:
    assert not [used for used in imported(MODULES[name]) if used.partition(".")[0] == "torch"]


def test_torch_free_modules_need_no_torch() -> None:
    names = ", ".join(f"pliant.{name}" for name in sorted(TORCH_FREE & MODULES.keys()))
    assert_without_torch(f"import {names}")


def test_importing_the_package_needs_no_torch() -> None:
    assert_without_torch("import pliant; pliant.PliantError; pliant.__version__")


def test_info_and_help_need_no_torch(tmp_path: Path) -> None:
    sample = tmp_path / "sample.pli"
    header = Header(width=8, height=8, layout="RGB", model_id=b"\0\1\2\3", rate=7)
    sample.write_bytes(write(Container(header, (b"stream",))))
    for arguments in (["info", str(sample)], ["--help"], ["encode", "--help"], ["--version"]):
        assert_without_torch(
            "from pliant.cli.main import main\n"
            "try:\n"
            f"    code = main({arguments!r})\n"
            "except SystemExit as stop:\n"
            "    code = stop.code\n"
            "assert not code, code"
        )


def assert_without_torch(code: str) -> None:
    check = "import sys; assert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_public_names_are_complete() -> None:
    assert set(pliant.__all__) == PUBLIC
    assert set(dir(pliant)) >= PUBLIC
    for name in PUBLIC:
        assert getattr(pliant, name) is not None
    assert pliant.__version__ == version("pliant")


@pytest.mark.parametrize("path", OWN, ids=relative)
def test_sizes(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE_LINES, f"{lines} lines"
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name}: {length} lines"


@pytest.mark.parametrize("name", sorted(MODULES), ids=lambda name: name or "pliant")
def test_public_things_have_docstrings(name: str) -> None:
    module = tree(MODULES[name])
    public = [
        node
        for node in module.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    missing = [node.name for node in public if not ast.get_docstring(node)]
    if module.body and not ast.get_docstring(module):
        missing.append("the module itself")
    assert not missing
