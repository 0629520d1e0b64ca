"""The process that `DecoderPool` starts: decodes image after image until its parent is gone.

It receives `{"size": S, "resize": ..., "images": [...]}`, where an image is the path of a file that
it reads itself, or the length of one whose content follows. It answers with `{"images": [...]}` and
the pixels of those that could be decoded; each image is a list of

- `[width, height, format]`, or null if it cannot be decoded,
- `[error type, message]` of the decoder, or null,
- `[size in bytes, SHA-256 in hex]` of the file, or null if it cannot be read,
- seconds of reading and of decoding.

Before a large image it says that it waits for its turn, and that the turn has come. Nothing that it
sends or receives is ever unpickled.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import io
import json
import os
import signal
import socket
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from transforms.pixels import DecodedImage, describe_error

ORPHAN_S = 600
"""A process whose parent died while it hung ends after so many seconds by SIGALRM."""


_LENGTHS = struct.Struct("<II")
"""What a message starts with: the lengths of its JSON and of its body, in bytes."""


def send(connection: socket.socket, message: dict[str, Any], *body: bytes) -> None:
    """Send a message, whose body may come in parts."""
    text = json.dumps(message).encode()
    header = _LENGTHS.pack(len(text), sum(map(len, body)))
    connection.sendall(b"".join((header, text, *body)))


def receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Wait for a message and its body.

    Raises:
        EOFError: if the other side has closed the connection.
        TimeoutError: after the connection's own timeout.
    """
    text_length, body_length = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
    message: dict[str, Any] = json.loads(_read(stream, text_length).decode())
    return message, _read(stream, body_length)


def _read(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def main() -> None:
    """Serve the connection whose file descriptor the command line names."""
    descriptor, decoder = sys.argv[1:]
    module, _, name = decoder.partition(":")
    decode = getattr(importlib.import_module(module), name)
    with socket.socket(fileno=int(descriptor)) as connection, _open_lock() as large:
        # It does not block where the parent has a default timeout for sockets, as Beam sets one.
        connection.setblocking(True)
        stream = connection.makefile("rb")
        try:
            while True:
                request, body = receive(stream)
                _serve(connection, decode, body, request, large)
        except (EOFError, OSError):
            return  # The parent is gone, or has closed the connection.


def _open_lock() -> BinaryIO:
    """Open the file whose lock is held while a large image is decoded, one for each user."""
    path = os.path.join(tempfile.gettempdir(), f"beamvec-{os.getuid()}.lock")
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "rb")


def _serve(
    connection: socket.socket,
    decode: Callable[..., DecodedImage],
    body: bytes,
    request: dict[str, Any],
    large: BinaryIO,
) -> None:
    def take_turn() -> None:
        send(connection, {"state": "waiting"})
        fcntl.flock(large, fcntl.LOCK_EX)
        send(connection, {"state": "started"})
        signal.alarm(ORPHAN_S)

    answers: list[tuple[Any, ...]] = []
    pixels: list[bytes] = []
    files = io.BytesIO(body)
    for source in request["images"]:
        signal.alarm(ORPHAN_S)
        begin = time.perf_counter()
        found, failed, file = None, None, None
        data = _read_file(source) if isinstance(source, str) else files.read(source)
        read_s = time.perf_counter() - begin
        if data is not None:
            file = len(data), hashlib.sha256(data).hexdigest()
        start = time.perf_counter()
        try:
            if data is not None:
                image = decode(data, request["size"], request["resize"], take_turn)
                pixels.append(image.pixels.tobytes())
                found = image.width, image.height, image.format
        except Exception as error:  # noqa: BLE001 Decoders raise what they like on broken data.
            failed = describe_error(error)
        finally:
            signal.alarm(0)
            fcntl.flock(large, fcntl.LOCK_UN)
        answers.append((found, failed, file, read_s, time.perf_counter() - start))
    send(connection, {"images": answers}, *pixels)


def _read_file(path: str) -> bytes | None:
    """Return what a regular file holds; None if it cannot be read, and the parent finds out why."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # A pipe would wait for a writer.
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.read()
    except OSError:
        return None
    finally:
        os.close(descriptor)
