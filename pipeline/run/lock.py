"""One run at a time for each output folder.

On a local filesystem the kernel keeps the lock (`flock`) and drops it when its owner dies, however
it dies. Elsewhere the lock is a lease: a small file that its owner renews, and that is void once it
has not been renewed for a while.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from beamvec.embeddings.layout import Layout
from beamvec.errors import OutputError
from beamvec.transforms.files import storage

RENEW_EVERY_S = 20.0
LEASE_S = 90.0


@contextmanager
def hold_output(layout: Layout) -> Iterator[None]:
    """Hold the output folder while the block runs, or refuse.

    Args:
        layout: the dataset's folder; it is made if it is missing.

    Raises:
        OutputError: if another run holds it, saying which, or if the folder cannot be written.
    """
    hold = _hold_local if storage.is_local(layout.path) else _hold_remote
    with hold(layout.lock_file):
        yield


def _describe_owner() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "user": _user(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "token": uuid.uuid4().hex,
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user need not have a name.
        return str(os.getuid())


def _refuse(output: str, owner: dict[str, Any], advice: str) -> OutputError:
    return OutputError(
        f"{output} is in use by another run: process {owner.get('pid')} of "
        f"{owner.get('user')} on {owner.get('host')}, since {owner.get('since')}; {advice}"
    )


@contextmanager
def _hold_local(path: str) -> Iterator[None]:
    try:
        file = _lock_file(path)
    except OSError as error:
        raise OutputError(f"cannot write to `output={os.path.dirname(path)}`: {error}") from error
    with os.fdopen(file, "r+b", buffering=0) as stream:
        stream.truncate()
        stream.write(json.dumps(_describe_owner()).encode())
        try:
            yield
        finally:
            os.unlink(path)


def _lock_file(path: str) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _parse(os.read(file, 4096))
            os.close(file)
            raise _refuse(os.path.dirname(path), owner, "wait for it, or stop it") from None
        if _is_same_file(file, path):
            return file
        os.close(file)  # Its owner removed it between our opening and our locking it.


def _is_same_file(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def _hold_remote(path: str) -> Iterator[None]:
    me = _describe_owner()
    output = path.rpartition("/")[0]
    try:
        owner = _read_lease(path)
        if owner.get("renewed_s", 0.0) + LEASE_S > time.time():
            raise _refuse(output, owner, f"if it died, this ends by itself within {LEASE_S:.0f} s")
        _write_lease(path, me)
        if _read_lease(path).get("token") != me["token"]:
            raise _refuse(output, _read_lease(path), "wait for it, or stop it")
    except OSError as error:
        raise OutputError(f"cannot write to `output={output}`: {error}") from error
    ended = threading.Event()
    keeper = threading.Thread(target=_renew, args=(path, me, ended), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        storage.delete(path)


def _renew(path: str, me: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(RENEW_EVERY_S):
        with suppress(OSError):  # The next renewal comes before the lease ends.
            _write_lease(path, me)


def _write_lease(path: str, me: dict[str, Any]) -> None:
    storage.write_file(path, json.dumps({**me, "renewed_s": time.time()}).encode())


def _read_lease(path: str) -> dict[str, Any]:
    return _parse(storage.read_bytes(path)) if storage.exists(path) else {}


def _parse(content: bytes) -> dict[str, Any]:
    """Parse what another run wrote; one that is just writing it may have written half."""
    try:
        owner = json.loads(content)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}
