"""The process that `DecoderPool` starts: decodes parcel after parcel until its parent is gone.

It says that it is ready, then receives a `Request` and sends an `Answer`. Before a large image it
asks for its turn, and waits until it gets it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import importlib
import os
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image

from beamvec.transforms.decoding.limits import FILE_TOO_LARGE, FileTooLargeError, Limits
from beamvec.transforms.decoding.messages import Answer, Request, Signal, receive, send
from beamvec.transforms.decoding.outcome import Cause, Outcome, describe_error
from beamvec.transforms.decoding.pixels import DecodedImage
from beamvec.transforms.decoding.shared import Mark, PixelMemory
from beamvec.transforms.files.local import read_first
from beamvec.transforms.machine import end_with


def main() -> None:
    """Serve the connection whose file descriptor the command line names."""
    decoder, *numbers = sys.argv[1:]
    descriptor, shared, parent, *limits = map(int, numbers)
    _end_at_once_with(parent)
    # `max_pixels` is the limit here. Pillow's own is taken away here as it is global, and this
    # process is ours alone.
    Image.MAX_IMAGE_PIXELS = None
    module, _, name = decoder.partition(":")
    decode = getattr(importlib.import_module(module), name)
    with socket.socket(fileno=descriptor) as connection:
        # It does not block where the parent has a default timeout for sockets, as Beam sets one.
        connection.setblocking(True)
        # The parent is gone, or has closed the connection.
        with contextlib.suppress(EOFError, OSError):
            _serve(connection, shared, decode, Limits(*limits))


def _end_at_once_with(parent: int) -> None:
    """Have this process end soon after its parent, whatever it is busy with.

    Standard input is a pipe from the parent. When that end closes, Linux sends SIGIO, which ends a
    process: also one in C code that holds Python's lock, where no thread could do it. Not
    PR_SET_PDEATHSIG, which comes already when the parent's thread ends that started this process.

    The thread is for other systems, and for a pipe that a fork of the parent keeps open.
    """
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    end_with(parent)


def _serve(
    connection: socket.socket, shared: int, decode: Callable[..., DecodedImage], limits: Limits
) -> None:
    stream = connection.makefile("rb")
    mark, memory = Mark(shared), PixelMemory(shared)
    take_turn = functools.partial(_take_turn, connection, stream)
    send(connection, Signal("ready"))
    while True:
        request = receive(stream)
        assert isinstance(request, Request)
        decode_data = functools.partial(
            decode,
            resizing=request.resizing,
            before_large=take_turn,
            max_pixels=limits.max_pixels,
        )
        pixels = memory.view(len(request.files), request.resizing.size)
        outcomes = []
        for index, file in enumerate(request.files):
            mark.set(index)
            outcome = decode_file(file, decode_data, limits.max_file_size)
            if outcome.image:
                pixels[index] = outcome.image.pixels
            outcomes.append(outcome)
        send(connection, Answer(outcomes))


def _take_turn(connection: socket.socket, stream: BinaryIO, size_bytes: int) -> None:
    asked = Signal("turn", size_bytes)
    send(connection, asked)
    granted = receive(stream)
    assert granted == asked


def decode_file(
    file: bytes | str, decode: Callable[[bytes], DecodedImage], max_file_size: int
) -> Outcome:
    """Decode a file; whatever goes wrong is part of the outcome.

    Args:
        file: its content, or its path.
        decode: from the content to the image.
        max_file_size: in bytes; a file that has more is not read.
    """
    begin = time.perf_counter()
    try:
        data = _read_file(file, max_file_size) if isinstance(file, str) else file
    except FileTooLargeError as large:
        unread = Cause("read", FILE_TOO_LARGE, str(large))
        return Outcome(None, unread, large.size_bytes, read_s=time.perf_counter() - begin)
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


def _read_file(path: str, max_file_size: int) -> bytes:
    """Return what a regular file holds, or raise `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # A pipe would wait for a writer.
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", path)
        if found.st_size > max_file_size:
            raise FileTooLargeError(found.st_size, max_file_size)
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            data = read_first(file, max_file_size + 1)
        if len(data) > max_file_size:  # It has grown meanwhile.
            raise FileTooLargeError(None, max_file_size)
        return data
    finally:
        os.close(descriptor)
