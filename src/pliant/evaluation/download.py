"""A file from the network: resumed where it was cut off, checked, and complete or not there."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import pliant
from pliant.errors import DamagedError, PliantError

PARTIAL = ".partial"
ATTEMPTS = 4  # per address, each going on where the one before was cut off
TIMEOUT = 30.0  # seconds without a byte
PAUSE = 1.0  # seconds before the second attempt, longer before each further one
_CHUNK = 1 << 16
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that may be better next time


def fetch(
    addresses: Sequence[str],
    target: Path,
    correct: Callable[[Path], bool],
    *,
    most_bytes: int,
) -> None:
    """Loads a file from the first address that has it; its name appears when it is correct.

    What an earlier call received before it was cut off lies beside the target and is not loaded
    again where the server knows byte ranges (RFC 9110, section 14).

    Args:
        addresses: of the same file, in the order in which they are tried.
        correct: says whether a complete file is the right one; if not, it is removed.
        most_bytes: more are refused.

    Raises:
        DamagedError: an address has another file than it should.
        PliantError: no address can be reached, or the connection is cut too often; what came
            stays for the next call.
        OSError: the file cannot be written.
    """
    partial = target.with_name(target.name + PARTIAL)
    wrong, failures = False, []
    for address in addresses:
        try:
            if _correct_from(address, partial, correct, most_bytes):
                os.replace(partial, target)
                return
            wrong = True
            failures.append(f"{address} has another file than it should")
        except _Unreachable as error:
            failures.append(f"{address}: {error}")
    kind = DamagedError if wrong else PliantError
    raise kind(f"{target.name} could not be loaded: {'; '.join(failures)}")


class _Unreachable(Exception):
    """Why an address gives no complete file."""


class _Interrupted(Exception):
    """Why an address gave no complete file this time; the next attempt may."""


def _correct_from(
    address: str,
    partial: Path,
    correct: Callable[[Path], bool],
    most_bytes: int,
) -> bool:
    """Whether the address gave the right file, now complete in `partial`."""
    went_on = partial.exists()
    _complete(address, partial, most_bytes)
    if correct(partial):
        return True
    partial.unlink()
    # The wrong bytes may be those from before, of another address or a damaged disk.
    return went_on and _correct_from(address, partial, correct, most_bytes)


def _complete(address: str, partial: Path, most_bytes: int) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _transfer(address, partial, most_bytes)
            return
        except _Interrupted as error:
            if attempt == ATTEMPTS:
                raise _Unreachable(f"{error}, {ATTEMPTS} times") from None
        time.sleep(PAUSE * attempt)


def _transfer(address: str, partial: Path, most_bytes: int) -> None:
    """Appends what is missing to `partial`, or writes it anew when the server knows no ranges."""
    present = partial.stat().st_size if partial.exists() else 0
    response = _open(address, present)
    if response is None:
        return
    with response:
        goes_on = response.status == http.client.PARTIAL_CONTENT
        range_ = response.headers.get("Content-Range", "")
        if goes_on and not range_.startswith(f"bytes {present}-"):
            raise _Unreachable("answers with another range of bytes than was asked for")
        announced = response.headers.get("Content-Length")
        size = before = present if goes_on else 0
        with partial.open("ab" if goes_on else "wb") as file:
            while size <= most_bytes and (chunk := _read(response)):
                file.write(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
    if size > most_bytes:
        partial.unlink()
        raise _Unreachable(f"has more than the {most_bytes} bytes that are allowed")
    if announced is not None and size - before < int(announced):
        raise _Interrupted(f"cut off after {size} of {before + int(announced)} bytes")


def _open(address: str, present: int) -> http.client.HTTPResponse | None:
    """The answer from byte `present` on; None when nothing follows it."""
    headers = {"User-Agent": f"pliant/{pliant.__version__}"}
    if present:
        headers["Range"] = f"bytes={present}-"
    request = urllib.request.Request(address, headers=headers)
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
        return response
    except urllib.error.HTTPError as error:
        error.close()
        if present and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        kind = _Interrupted if error.code in _PASSING else _Unreachable
        raise kind(f"{error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(_reason(error)) from None


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(_reason(error)) from None


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)  # urllib wraps what the socket said
    return str(getattr(cause, "strerror", None) or cause) or type(cause).__name__
