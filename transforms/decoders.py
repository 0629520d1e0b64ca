"""Decoding in processes of its own: a file that crashes or hangs the decoder costs one row.

Each process decodes one image at a time, so it is always clear which one brought it down. It ends
by itself when its parent is gone, however that died.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from transforms.decoder_process import receive, send
from transforms.pixels import DecodedImage
from transforms.settings import Resize, count_cpus

TIMEOUT_S = 120.0
"""A decoder that takes longer for an image is killed; the largest images take some seconds."""

PILLOW = "transforms.pixels:decode_image"

CRASHED = "DecoderCrashed"
_EXIT_S = 1.0
_START = (
    "import sys; sys.path = [path for path in sys.path if path]; "
    "from transforms.decoder_process import main; main()"
)


class DecoderError(Exception):
    """An image could not be decoded.

    Attributes:
        error_type: the name of the decoder's exception, or `DecoderCrashed` or `DecoderTimeout`.
        decode_s: seconds spent on it.
    """

    def __init__(self, error_type: str, message: str, decode_s: float):
        super().__init__(message)
        self.error_type = error_type
        self.decode_s = decode_s


class DecoderPool:
    """Processes that decode images, started when they are first needed.

    Args:
        count: processes, as many as cores that should decode.
        decoder: what they call, `module:function`, with the signature of `decode_image`.
        timeout_s: how long an image may take.
    """

    def __init__(self, count: int, decoder: str = PILLOW, timeout_s: float = TIMEOUT_S):
        self._decoder = decoder
        self._timeout_s = timeout_s
        self._idle: queue.SimpleQueue[_Decoder | None] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(None)

    def start(self) -> None:
        """Start the processes that are missing, without waiting until they are ready."""
        for decoder in self._take_idle():
            self._idle.put(decoder or _Decoder(self._decoder))

    def decode(self, data: bytes, size: int, resize: Resize) -> tuple[DecodedImage, float]:
        """Decode an image in one of the processes, waiting for one that is free.

        Args:
            data: the content of the file.
            size: S, the target's width and height in pixels.
            resize: see `decode_image`.

        Returns:
            The image, and the seconds that it took.

        Raises:
            DecoderError: if it cannot be decoded, or brings the decoder down.
        """
        try:
            return self._decode_once(data, size, resize)
        except DecoderError as error:
            if error.error_type != CRASHED:
                raise
        # The process may have been killed for another reason, such as a lack of memory.
        return self._decode_once(data, size, resize)

    def _decode_once(self, data: bytes, size: int, resize: Resize) -> tuple[DecodedImage, float]:
        with self._borrow() as decoder:
            return decoder.decode(data, size, resize, self._timeout_s)

    @contextmanager
    def _borrow(self) -> Iterator[_Decoder]:
        decoder = self._idle.get() or _Decoder(self._decoder)
        try:
            yield decoder
        finally:
            self._idle.put(decoder if decoder.is_alive() else None)

    def close(self) -> None:
        """End the processes; those that are busy end when they are done."""
        for decoder in self._take_idle():
            if decoder:
                decoder.stop()

    def _take_idle(self) -> list[_Decoder | None]:
        taken = []
        with contextlib.suppress(queue.Empty):
            while True:
                taken.append(self._idle.get_nowait())
        return taken


class _Decoder:
    """One process, and the connection to it."""

    def __init__(self, decoder: str):
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), decoder],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Not our process group: Ctrl-C is for the parent, whose end they notice.
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self._connection = ours

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._connection.close()
        try:  # A process that crashed is to be found with its own exit status.
            self._process.wait(timeout=_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def decode(
        self, data: bytes, size: int, resize: Resize, timeout_s: float
    ) -> tuple[DecodedImage, float]:
        start = time.perf_counter()
        try:
            self._connection.settimeout(timeout_s)
            send(self._connection, {"size": size, "resize": resize}, data)
            answer, pixels = self._receive(timeout_s)
            if "error_type" in answer:
                raise DecoderError(answer["error_type"], answer["message"], answer["decode_s"])
        except TimeoutError:
            self.stop()
            message = f"the decoder took more than {timeout_s:g} s for this file"
            raise DecoderError("DecoderTimeout", message, timeout_s) from None
        except (EOFError, OSError):
            self.stop()
            raise self._explain_crash(time.perf_counter() - start) from None
        image = DecodedImage(
            np.frombuffer(pixels, np.uint8).reshape(size, size, 3),
            answer["width"],
            answer["height"],
            answer["format"],
        )
        return image, answer["decode_s"]

    def _receive(self, timeout_s: float) -> tuple[dict[str, Any], bytearray]:
        while True:
            answer, body = receive(self._connection)
            if "state" not in answer:
                return answer, body
            # Whoever holds the lock for large images is timed itself, so this wait ends.
            self._connection.settimeout(None if answer["state"] == "waiting" else timeout_s)

    def _explain_crash(self, decode_s: float) -> DecoderError:
        code = self._process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return DecoderError(CRASHED, f"the decoder {how} on this file", decode_s)


@functools.cache
def shared_pool() -> DecoderPool:
    """Return the pool of this process, with a decoder for each core."""
    return DecoderPool(count_cpus())
