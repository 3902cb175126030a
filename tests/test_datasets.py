"""Test sets come whole or not at all: whatever the server does."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from pliant.cli.main import main
from pliant.errors import DamagedError, PliantError, UsageError
from pliant.evaluation import datasets, download
from pliant.evaluation.datasets import DATASETS, Dataset, File

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """What the local server does, and what it was asked."""

    address: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    cut_after: int | None = None  # bytes per answer
    statuses: list[int] = field(default_factory=list)  # of the next answers, before good ones
    silent: bool = False
    shift: int = 0  # added to the start of a range that is asked for
    asked: list[str | None] = field(default_factory=list)  # the Range header of every request


class Handler(BaseHTTPRequestHandler):
    """Answers every path with the content of the site, in the way that the site says."""

    site: ClassVar[Site]

    def do_GET(self) -> None:
        site, range_ = self.site, self.headers["Range"]
        site.asked.append(range_)
        if site.silent:
            self.rfile.read(1)  # until the client gives up
            return
        if site.statuses:
            self.send_error(site.statuses.pop(0))
            return
        start = int(range_.removeprefix("bytes=").rstrip("-")) if range_ and site.ranges else 0
        start += site.shift
        if range_ and start >= len(site.content):
            self.send_error(416)
            return
        body, end = site.content[start:], len(site.content)
        self.send_response(206 if range_ and site.ranges else 200)
        if range_ and site.ranges:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: site.cut_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    """A local server that starts with good manners."""
    result = Site()
    handler = type("SiteHandler", (Handler,), {"site": result})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        result.address = f"http://127.0.0.1:{server.server_address[1]}/file.bin"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield result
        server.shutdown()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between attempts; a proxy of the environment must not see local addresses."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def file(site: Site, **changes: object) -> File:
    fields = {"name": "file.bin", "addresses": (site.address,), "sha256": SHA256}
    return File(**{**fields, **changes})  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_loaded_once(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert datasets.load(file(site), folder)
    assert (folder / "file.bin").read_bytes() == CONTENT
    assert not datasets.load(file(site), folder)
    assert site.asked == [None]
    assert names(folder) == ["file.bin"]


def test_a_partial_file_goes_on(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.partial").write_bytes(CONTENT[:1000])
    assert datasets.load(file(site), tmp_path)
    assert site.asked == ["bytes=1000-"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert names(tmp_path) == ["file.bin"]


def test_a_complete_partial_file_only_needs_its_name(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.partial").write_bytes(CONTENT)
    datasets.load(file(site), tmp_path)
    assert site.asked == [f"bytes={len(CONTENT)}-"]
    assert names(tmp_path) == ["file.bin"]


def test_a_server_without_ranges_sends_everything_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    (tmp_path / "file.bin.partial").write_bytes(CONTENT[:1000])
    datasets.load(file(site), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_cut_connection_is_taken_up_again(site: Site, tmp_path: Path) -> None:
    site.cut_after = 100_000
    datasets.load(file(site), tmp_path)
    assert site.asked == [None, "bytes=100000-", "bytes=200000-"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_what_came_before_too_many_cuts_is_kept(site: Site, tmp_path: Path) -> None:
    site.cut_after = 1000
    with pytest.raises(PliantError, match="cut off after 4000 of 256000 bytes, 4 times"):
        datasets.load(file(site), tmp_path)
    assert names(tmp_path) == ["file.bin.partial"]
    site.cut_after = None
    datasets.load(file(site), tmp_path)
    assert site.asked[-1] == "bytes=4000-"
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_damage_in_the_partial_file_is_loaded_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.partial").write_bytes(b"x" * 1000)
    datasets.load(file(site), tmp_path)
    assert site.asked == ["bytes=1000-", None]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_wrong_file_is_named_and_not_kept(site: Site, tmp_path: Path) -> None:
    site.content = CONTENT[:-1] + b"x"
    with pytest.raises(DamagedError, match=r"file\.bin could not be loaded: .* another file"):
        datasets.load(file(site), tmp_path)
    assert names(tmp_path) == []


def test_a_file_without_end_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(PliantError, match="more than the 1000 bytes"):
        datasets.load(file(site, most_bytes=1000), tmp_path)
    assert names(tmp_path) == []


def test_another_range_than_asked_for_is_refused(site: Site, tmp_path: Path) -> None:
    site.shift = 5
    (tmp_path / "file.bin.partial").write_bytes(CONTENT[:1000])
    with pytest.raises(PliantError, match="another range"):
        datasets.load(file(site), tmp_path)


def test_a_missing_file_is_no_matter_for_patience(site: Site, tmp_path: Path) -> None:
    site.statuses = [404]
    with pytest.raises(PliantError, match="404 Not Found") as caught:
        datasets.load(file(site), tmp_path)
    assert caught.value.exit_code == 1
    assert len(site.asked) == 1


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    datasets.load(file(site), tmp_path)
    assert len(site.asked) == 3


def test_mirrors_are_tried_in_order(site: Site, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9/"  # the discard port: nothing listens
    datasets.load(file(site, addresses=(nobody, site.address)), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    with pytest.raises(PliantError, match="Connection refused"):
        datasets.load(file(site, name="other.bin", addresses=(nobody,)), tmp_path)


def test_a_silent_server_is_left(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    site.silent = True
    with pytest.raises(PliantError, match="timed out, 4 times"):
        datasets.load(file(site), tmp_path)


def test_other_files_are_not_replaced_without_force(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        datasets.load(file(site), tmp_path)
    assert target.read_bytes() == b"mine"
    assert datasets.load(file(site), tmp_path, force=True)
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_one_sentence(site: Site, tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(PliantError, match="cannot write"):
        datasets.load(file(site), tmp_path / "taken")


def test_pictures_are_recognised_by_their_pixels(site: Site, tmp_path: Path) -> None:
    image = Image.linear_gradient("L").convert("RGB")
    wanted = file(site, sha256=None, pixels=hashlib.sha256(image.tobytes()).hexdigest())
    for level in (0, 9):  # other bytes, the same pixels
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=level)
        site.content = buffer.getvalue()
        assert datasets.load(wanted, tmp_path / str(level))
    for content in (CONTENT, site.content[:-40]):  # no picture; a picture with an end missing
        site.content = content
        with pytest.raises(DamagedError):
            datasets.load(wanted, tmp_path / "bad")
    image.putpixel((0, 0), (1, 0, 0))
    image.save(tmp_path / "changed.png")
    assert not wanted.matches(tmp_path / "changed.png")


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_the_table_of_sets(dataset: Dataset) -> None:
    assert datasets.find(dataset.name) is dataset
    seen = [file.name for file in dataset.files]
    assert len(set(seen)) == len(seen)
    for entry in dataset.files:
        assert all(address.startswith("https://") for address in entry.addresses)
        digest = entry.sha256 or entry.pixels or ""
        assert len(digest) == 64
        assert (entry.sha256 is None) != (entry.pixels is None)


@pytest.mark.parametrize("name", ["kodak", "gb82"])
def test_the_hashes_are_those_of_the_pictures(name: str, shared_data: Path) -> None:
    folder = shared_data / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    rows = csv.DictReader((folder / "MANIFEST.csv").read_text().splitlines())
    stored = {Path(row["file"]).stem: row["file"] for row in rows}
    entries = datasets.find(name).files
    assert {Path(entry.name).stem for entry in entries} == stored.keys()
    for entry in entries[:6] if name == "gb82" else entries:
        assert entry.matches(folder / stored[Path(entry.name).stem])


@pytest.fixture
def small_set(site: Site, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A set of two files, in place of the public ones."""
    files = tuple(file(site, name=name) for name in ("a.bin", "b.bin"))
    result = Dataset("small", "Two files", "http://source", "free for all", "SHA-256", files)
    monkeypatch.setattr(datasets, "DATASETS", (result,))
    return result


def test_command(small_set: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "small", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.index("free for all") < told.err.index("a.bin: loaded and checked")
    assert "http://source" in told.err
    assert names(tmp_path) == ["a.bin", "b.bin"]
    assert main(["data", "small", str(tmp_path), "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["loaded"] for record in records] == [False] * 2


def test_command_failures(
    small_set: Dataset, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data"]) == 2
    assert main(["data", "small"]) == 2
    assert main(["data", "large", str(tmp_path)]) == 2
    assert "known: small" in capsys.readouterr().err
    site.content = b"something else"
    assert main(["data", "small", str(tmp_path)]) == 3
    assert names(tmp_path) == []
    site.statuses = [404]
    assert main(["data", "small", str(tmp_path)]) == 1


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "--list"]) == 0
    told = capsys.readouterr().out
    assert "kodak: Kodak Lossless" in told
    assert "CC0-1.0" in told
    assert main(["data", "--list", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {record["name"]: record["files"] for record in records}["kodak"] == 24
