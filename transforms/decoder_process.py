"""The process that `DecoderPool` starts: decodes image after image until its parent is gone.

For each image it receives two messages, `{"size": S, "resize": ...}` and the file's content, and
answers with `{"width": ..., "height": ..., "format": ..., "decode_s": ...}` and the pixels, or with
`{"error_type": ..., "message": ..., "decode_s": ...}`. Before a large image it says that it waits
for its turn, and that the turn has come. Nothing that it sends or receives is ever unpickled.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, BinaryIO

from transforms.pixels import DecodedImage, describe_error

ORPHAN_S = 600
"""A process whose parent died while it hung ends after so many seconds by SIGALRM."""


def main() -> None:
    """Serve the connection whose file descriptor the command line names."""
    descriptor, decoder = sys.argv[1:]
    module, _, name = decoder.partition(":")
    decode = getattr(importlib.import_module(module), name)
    with Connection(int(descriptor)) as connection, _open_lock() as large:
        try:
            while True:
                request = json.loads(connection.recv_bytes())
                _serve(connection, decode, connection.recv_bytes(), request, large)
        except (EOFError, OSError):
            return  # The parent is gone, or has closed the connection.


def _open_lock() -> BinaryIO:
    """Open the file whose lock is held while a large image is decoded, one for each user."""
    path = os.path.join(tempfile.gettempdir(), f"beamvec-{os.getuid()}.lock")
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "rb")


def _serve(
    connection: Connection,
    decode: Callable[..., DecodedImage],
    data: bytes,
    request: dict[str, Any],
    large: BinaryIO,
) -> None:
    def take_turn() -> None:
        _send(connection, {"state": "waiting"})
        fcntl.flock(large, fcntl.LOCK_EX)
        _send(connection, {"state": "started"})
        signal.alarm(ORPHAN_S)

    signal.alarm(ORPHAN_S)
    start = time.perf_counter()
    try:
        image = decode(data, request["size"], request["resize"], take_turn)
    except Exception as error:  # noqa: BLE001 Decoders raise what they like on broken data.
        error_type, message = describe_error(error)
        failed = {"error_type": error_type, "message": message}
        _send(connection, {**failed, "decode_s": time.perf_counter() - start})
    else:
        size = {"width": image.width, "height": image.height}
        decoded = {**size, "format": image.format}
        _send(connection, {**decoded, "decode_s": time.perf_counter() - start})
        connection.send_bytes(image.pixels.tobytes())
    finally:
        signal.alarm(0)
        fcntl.flock(large, fcntl.LOCK_UN)


def _send(connection: Connection, message: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(message).encode())
