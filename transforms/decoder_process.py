"""The process that `DecoderPool` starts: decodes image after image until its parent is gone.

It receives `{"size": S, "resize": ..., "lengths": [...]}` with the content of so many files, and
answers with `{"images": [[[width, height, format], null, seconds], ...]}` and the pixels, where an
image that cannot be decoded is `[null, [error type, message], seconds]` and has no pixels. Before a
large image it says that it waits for its turn, and that the turn has come. Nothing that it sends or
receives is ever unpickled.
"""

from __future__ import annotations

import fcntl
import importlib
import io
import json
import os
import signal
import socket
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

    answers: list[tuple[Any, Any, float]] = []
    pixels: list[bytes] = []
    files = io.BytesIO(body)
    for length in request["lengths"]:
        signal.alarm(ORPHAN_S)
        start = time.perf_counter()
        try:
            image = decode(files.read(length), request["size"], request["resize"], take_turn)
        except Exception as error:  # noqa: BLE001 Decoders raise what they like on broken data.
            answers.append((None, describe_error(error), time.perf_counter() - start))
        else:
            pixels.append(image.pixels.tobytes())
            found = (image.width, image.height, image.format)
            answers.append((found, None, time.perf_counter() - start))
        finally:
            signal.alarm(0)
            fcntl.flock(large, fcntl.LOCK_UN)
    send(connection, {"images": answers}, *pixels)
