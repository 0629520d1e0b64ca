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
from collections.abc import Sequence
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
            self._idle.put(decoder or _Decoder(self._decoder, self._timeout_s))

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
            ((decoded, decode_s),) = self._decode_once([data], size, resize)
        except DecoderError as error:
            if error.error_type != CRASHED:
                raise
            # The process may have been killed for another reason, such as a lack of memory.
            ((decoded, decode_s),) = self._decode_once([data], size, resize)
        if isinstance(decoded, DecoderError):
            raise decoded
        return decoded, decode_s

    def decode_batch(
        self, batch: Sequence[bytes], size: int, resize: Resize
    ) -> tuple[list[DecodedImage | DecoderError], float]:
        """Decode some images in one of the processes; return them, and the seconds that it took.

        If one of them brings the process down, each is decoded again alone, to tell which it was.
        """
        try:
            results = self._decode_once(batch, size, resize) if batch else []
        except DecoderError:
            results = [self._decode_alone(data, size, resize) for data in batch]
        return [decoded for decoded, _ in results], sum(decode_s for _, decode_s in results)

    def _decode_alone(
        self, data: bytes, size: int, resize: Resize
    ) -> tuple[DecodedImage | DecoderError, float]:
        try:
            return self.decode(data, size, resize)
        except DecoderError as error:
            return error, error.decode_s

    def _decode_once(
        self, batch: Sequence[bytes], size: int, resize: Resize
    ) -> list[tuple[DecodedImage | DecoderError, float]]:
        decoder = self._idle.get() or _Decoder(self._decoder, self._timeout_s)
        try:
            return decoder.decode(batch, size, resize)
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

    def __init__(self, decoder: str, timeout_s: float):
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
        ours.settimeout(timeout_s)
        self._connection = ours
        self._answers = ours.makefile("rb")
        self._timeout_s = timeout_s

    def is_alive(self) -> bool:
        """Tell whether it has not been stopped; one that died by itself fails the next image."""
        return self._process.returncode is None

    def stop(self) -> None:
        self._answers.close()
        self._connection.close()
        try:  # A process that crashed is to be found with its own exit status.
            self._process.wait(timeout=_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def decode(
        self, batch: Sequence[bytes], size: int, resize: Resize
    ) -> list[tuple[DecodedImage | DecoderError, float]]:
        start = time.perf_counter()
        try:
            lengths = [len(data) for data in batch]
            request = {"size": size, "resize": resize, "lengths": lengths}
            send(self._connection, request, *batch)
            answer, body = self._receive()
        except TimeoutError:
            self.stop()
            message = f"the decoder took more than {self._timeout_s:g} s for this file"
            raise DecoderError("DecoderTimeout", message, self._timeout_s) from None
        except (EOFError, OSError):
            self.stop()
            raise self._explain_crash(time.perf_counter() - start) from None
        pixels = iter(np.frombuffer(body, np.uint8).reshape(-1, size, size, 3))
        results: list[tuple[DecodedImage | DecoderError, float]] = []
        for image, failed, decode_s in answer["images"]:
            if failed:
                results.append((DecoderError(failed[0], failed[1], decode_s), decode_s))
            else:
                results.append((DecodedImage(next(pixels), *image), decode_s))
        return results

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        while True:
            answer, body = receive(self._answers)
            if "state" not in answer:
                return answer, body
            # Whoever holds the lock for large images is timed itself, so this wait ends.
            self._connection.settimeout(None if answer["state"] == "waiting" else self._timeout_s)

    def _explain_crash(self, decode_s: float) -> DecoderError:
        code = self._process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return DecoderError(CRASHED, f"the decoder {how} on this file", decode_s)


@functools.cache
def shared_pool() -> DecoderPool:
    """Return the pool of this process, with a decoder for each core."""
    return DecoderPool(count_cpus())
