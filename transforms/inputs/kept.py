"""What can be read only once, such as a pipe, kept in a file as long as it is needed."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from beamvec.errors import InputError
from beamvec.transforms.files import storage

STANDARD_INPUT = "-"

_STANDARD_INPUTS = (STANDARD_INPUT, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_OPEN_FILES = ("/dev/", "/proc/")
_paths: set[str] = set()


@dataclass(frozen=True)
class KeptFile:
    """A temporary file, which goes with this object, and with the process at the latest.

    A copy of it, such as one that was pickled for a worker, only tells where it is.
    """

    path: str


def is_read_once(name: str) -> bool:
    """Tell whether a name is standard input, a pipe, or a file that this process has open.

    >>> is_read_once("-"), is_read_once("/dev/fd/63"), is_read_once("s3://bucket/uris.txt")
    (True, True, False)
    """
    if name == STANDARD_INPUT or name.startswith(_OPEN_FILES):
        return True
    try:
        mode = os.stat(os.path.expanduser(name)).st_mode if storage.is_local(name) else 0
    except (OSError, ValueError):  # Whoever opens it tells why.
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def keep(kind: str, name: str) -> KeptFile:
    """Read what can be read only once into a temporary file, with the same extension.

    Raises:
        InputError: if it cannot be read, or not be kept.
    """
    try:
        handle, path = tempfile.mkstemp(os.path.splitext(name)[1], "beamvec-")
    except OSError as error:
        raise InputError(f"`{kind}={name}` needs a temporary file: {error}") from error
    kept = KeptFile(path)
    _paths.add(path)
    weakref.finalize(kept, _discard, path)
    try:
        with open(handle, "wb") as file, _open(name) as source:
            shutil.copyfileobj(source, file)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read `{kind}={name}`: {error}") from error
    return kept


def discard_all() -> None:
    """Delete all that is kept, where the process is about to end without a word."""
    for path in tuple(_paths):
        _discard(path)


def _discard(path: str) -> None:
    _paths.discard(path)
    with suppress(OSError):  # It is gone, or the folder that it was in.
        os.unlink(path)


def _open(name: str) -> BinaryIO:
    # By its path, standard input cannot be opened where it is a socket.
    if name not in _STANDARD_INPUTS:
        return open(os.path.expanduser(name), "rb")
    if sys.stdin is None:
        raise ValueError("standard input is closed")
    return open(0, "rb", closefd=False)
