"""The process that `DecoderPool` starts: decodes image after image until its parent is gone.

For each image it receives `{"size": S, "resize": ...}` with the file's content, and answers with
`{"width": ..., "height": ..., "format": ..., "decode_s": ...}` and the pixels, or with
`{"error_type": ..., "message": ..., "decode_s": ...}`. Before a large image it says that it waits
for its turn, and that the turn has come. Nothing that it sends or receives is ever unpickled.
"""

from __future__ import annotations

import fcntl
import importlib
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


def send(
    connection: socket.socket, message: dict[str, Any], body: bytes | memoryview = b""
) -> None:
    """Send a message."""
    text = json.dumps(message).encode()
    connection.sendall(_LENGTHS.pack(len(text), len(body)) + text)
    if body:
        connection.sendall(body)


def receive(connection: socket.socket) -> tuple[dict[str, Any], bytearray]:
    """Wait for a message and its body.

    Raises:
        EOFError: if the other side has closed the connection.
        TimeoutError: after the connection's own timeout.
    """
    text_length, body_length = _LENGTHS.unpack(_read(connection, _LENGTHS.size))
    message: dict[str, Any] = json.loads(_read(connection, text_length))
    return message, _read(connection, body_length)


def _read(connection: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    left = memoryview(data)
    while left:
        count = connection.recv_into(left)
        if not count:
            raise EOFError
        left = left[count:]
    return data


def main() -> None:
    """Serve the connection whose file descriptor the command line names."""
    descriptor, decoder = sys.argv[1:]
    module, _, name = decoder.partition(":")
    decode = getattr(importlib.import_module(module), name)
    with socket.socket(fileno=int(descriptor)) as connection, _open_lock() as large:
        try:
            while True:
                request, data = receive(connection)
                _serve(connection, decode, bytes(data), request, large)
        except (EOFError, OSError):
            return  # The parent is gone, or has closed the connection.


def _open_lock() -> BinaryIO:
    """Open the file whose lock is held while a large image is decoded, one for each user."""
    path = os.path.join(tempfile.gettempdir(), f"beamvec-{os.getuid()}.lock")
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "rb")


def _serve(
    connection: socket.socket,
    decode: Callable[..., DecodedImage],
    data: bytes,
    request: dict[str, Any],
    large: BinaryIO,
) -> None:
    def take_turn() -> None:
        send(connection, {"state": "waiting"})
        fcntl.flock(large, fcntl.LOCK_EX)
        send(connection, {"state": "started"})
        signal.alarm(ORPHAN_S)

    signal.alarm(ORPHAN_S)
    start = time.perf_counter()
    try:
        image = decode(data, request["size"], request["resize"], take_turn)
    except Exception as error:  # noqa: BLE001 Decoders raise what they like on broken data.
        error_type, message = describe_error(error)
        failed = {"error_type": error_type, "message": message}
        send(connection, {**failed, "decode_s": time.perf_counter() - start})
    else:
        size = {"width": image.width, "height": image.height}
        decoded = {**size, "format": image.format}
        answer = {**decoded, "decode_s": time.perf_counter() - start}
        send(connection, answer, image.pixels.tobytes())
    finally:
        signal.alarm(0)
        fcntl.flock(large, fcntl.LOCK_UN)
