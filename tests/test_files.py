"""Output files: complete or not there, never half-written, never over another by accident."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from pliant.errors import PliantError, UsageError
from pliant.files import check_folder, check_target, make_folder, output_file
from pliant.image import Picture, save

PICTURE = Picture(np.zeros((2, 2, 3), np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which no temporary file may be left behind."""
    yield tmp_path
    assert not [path for path in tmp_path.rglob("*") if "tmp" in path.name]


def test_existing_files_need_force_and_keep_their_permissions(folder: Path) -> None:
    target = folder / "a.png"
    target.write_bytes(b"old")
    target.chmod(0o640)
    with pytest.raises(UsageError, match="--force"):
        save(PICTURE, target)
    assert target.read_bytes() == b"old"
    save(PICTURE, target, force=True)
    assert target.read_bytes() != b"old"
    assert target.stat().st_mode & 0o777 == 0o640


def write_half(target: Path, failure: type[BaseException]) -> None:
    with output_file(target, force=True) as stream:
        stream.write(b"half")
        raise failure


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_any_error_leaves_everything_as_it_was(failure: type[BaseException], folder: Path) -> None:
    target = folder / "a"
    target.write_bytes(b"old")
    with pytest.raises(failure):
        write_half(target, failure)
    assert target.read_bytes() == b"old"
    with pytest.raises(failure):
        write_half(folder / "b", failure)
    assert not (folder / "b").exists()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_full_disk_is_one_sentence(
    call: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Image.Image, "save", full)
    target = folder / "a.png"
    with pytest.raises(PliantError, match=r"cannot write .*a\.png: No space left") as caught:
        save(PICTURE, target)
    assert caught.value.exit_code == 1
    assert not target.exists()


def test_a_file_that_appears_meanwhile_is_kept(folder: Path) -> None:
    target = folder / "a"

    def late(stream: IO[bytes]) -> None:
        stream.write(b"new")
        target.write_bytes(b"other")

    with pytest.raises(UsageError, match="exists"), output_file(target) as stream:
        late(stream)
    assert target.read_bytes() == b"other"


def test_links_devices_folders_and_the_input_itself(folder: Path) -> None:
    real, link = folder / "real", folder / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with pytest.raises(UsageError, match="same file"), output_file(link, force=True, source=real):
        pass
    with output_file(link, force=True) as stream:
        stream.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    with output_file(os.devnull) as stream:
        stream.write(b"gone")
    with pytest.raises(UsageError, match="folder"), output_file(folder):
        pass
    with pytest.raises(PliantError, match="cannot write"), output_file(folder / "no" / "file"):
        pass


@pytest.mark.parametrize("target", ["none/a", "none/deep/a", "file/a"])
def test_a_missing_folder_is_known_beforehand(folder: Path, target: str) -> None:
    (folder / "file").write_bytes(b"")
    place = folder / target
    with pytest.raises(UsageError, match=f"cannot write {place}: .*{place.parent}"):
        check_target(place)
    with pytest.raises(UsageError, match="folder"):
        check_target(place, source=folder / "b")
    (folder / "dangling").symlink_to(place)
    with pytest.raises(UsageError, match="folder"):
        check_target(folder / "dangling")
    check_target(place, source=place.with_name("source"))  # which is missing too, and better said


def test_a_folder_that_is_not_writable_is_known_beforehand(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_target(folder / "a", source=folder / "b")
    check_folder(folder)
    check_folder(folder / "new" / "deep")
    assert not (folder / "new").exists()
    monkeypatch.setattr(os, "access", lambda place, mode: str(place) != str(folder))
    for check in (check_target, check_folder):
        with pytest.raises(UsageError, match=f"{folder} is not writable"):
            check(folder / "a")
    check_target(os.devnull)
    (folder / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="file is not a folder"):
        check_folder(folder / "file" / "below")


def test_folders_are_made_or_refused_in_one_sentence(folder: Path) -> None:
    make_folder(folder / "a" / "b")
    make_folder(folder / "a" / "b")
    (folder / "file").write_bytes(b"")
    for name in ("file", "file/below"):
        with pytest.raises(UsageError, match=r"cannot make the folder .*file"):
            make_folder(folder / name)


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="there are no names of open files")
def test_a_pipe_is_written_by_its_name() -> None:
    """`/dev/stdout` of a pipe leads to no path."""
    reading, writing = os.pipe()
    with output_file(f"/dev/fd/{writing}") as stream:
        stream.write(b"all")
    os.close(writing)
    with open(reading, "rb") as stream:
        assert stream.read() == b"all"
