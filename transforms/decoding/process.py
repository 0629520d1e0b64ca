"""The process that `DecoderPool` starts: decodes parcel after parcel until its parent is gone.

It receives a `Request` and sends an `Answer`. Before a large image it says that it waits for its
turn, and that the turn has come.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import importlib
import os
import signal
import socket
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image

from beamvec.transforms.decoding.messages import Answer, Request, Turn, receive, send
from beamvec.transforms.decoding.outcome import Cause, Outcome, describe_error
from beamvec.transforms.decoding.pixels import DecodedImage

ORPHAN_S = 600
"""A process whose parent died while it hung ends after so many seconds by SIGALRM."""


def main() -> None:
    """Serve the connection whose file descriptor the command line names."""
    descriptor, decoder = sys.argv[1:]
    # Pillow warns of images half as large as those that it refuses; `MAX_PIXELS` is the limit here.
    # The filter is set here as it is global, and this process is ours alone.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    module, _, name = decoder.partition(":")
    decode = getattr(importlib.import_module(module), name)
    with socket.socket(fileno=int(descriptor)) as connection, _open_lock() as lock:
        # It does not block where the parent has a default timeout for sockets, as Beam sets one.
        connection.setblocking(True)
        # The parent is gone, or has closed the connection.
        with contextlib.suppress(EOFError, OSError):
            _serve(connection, decode, lock)


def _open_lock() -> BinaryIO:
    """Open the file whose lock is held while a large image is decoded, one for each user."""
    path = os.path.join(tempfile.gettempdir(), f"beamvec-{os.getuid()}.lock")
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "rb")


def _serve(connection: socket.socket, decode: Callable[..., DecodedImage], lock: BinaryIO) -> None:
    stream = connection.makefile("rb")
    take_turn = functools.partial(_take_turn, connection, lock)
    while True:
        request = receive(stream)
        assert isinstance(request, Request)
        decode_data = functools.partial(
            decode, size=request.size, resize=request.resize, before_large=take_turn
        )
        outcomes = [_decode_alarmed(file, decode_data, lock) for file in request.files]
        send(connection, Answer(request.size, outcomes))


def _take_turn(connection: socket.socket, lock: BinaryIO) -> None:
    # The parent stops its clock while this process waits for others.
    send(connection, Turn("waiting"))
    fcntl.flock(lock, fcntl.LOCK_EX)
    send(connection, Turn("started"))
    signal.alarm(ORPHAN_S)


def _decode_alarmed(
    file: bytes | str, decode: Callable[[bytes], DecodedImage], lock: BinaryIO
) -> Outcome:
    signal.alarm(ORPHAN_S)
    try:
        return decode_file(file, decode)
    finally:
        signal.alarm(0)
        fcntl.flock(lock, fcntl.LOCK_UN)


def decode_file(file: bytes | str, decode: Callable[[bytes], DecodedImage]) -> Outcome:
    """Decode a file; whatever goes wrong is part of the outcome.

    Args:
        file: its content, or its path.
        decode: from the content to the image.
    """
    begin = time.perf_counter()
    try:
        data = _read_file(file) if isinstance(file, str) else file
    except (OSError, ValueError) as failed:  # `ValueError` is for a path that holds a zero byte.
        unread = Cause("read", *describe_error(failed))
        return Outcome(None, unread, read_s=time.perf_counter() - begin)
    read_s = time.perf_counter() - begin
    sha256 = hashlib.sha256(data).hexdigest()
    start = time.perf_counter()
    image, error = _try_decode(data, decode)
    return Outcome(image, error, len(data), sha256, read_s, time.perf_counter() - start)


def _try_decode(
    data: bytes, decode: Callable[[bytes], DecodedImage]
) -> tuple[DecodedImage | None, Cause | None]:
    try:
        return decode(data), None
    except Exception as failed:  # noqa: BLE001 Decoders raise what they like on broken data.
        return None, Cause("decode", *describe_error(failed))


def _read_file(path: str) -> bytes:
    """Return what a regular file holds, or raise `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # A pipe would wait for a writer.
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", path)
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)
