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
from typing import Any, NamedTuple

import numpy as np

from transforms.decoder_process import receive, send
from transforms.pixels import DecodedImage
from transforms.settings import Resize, count_cpus

TIMEOUT_S = 120.0
"""A decoder that takes longer for an image is killed; the largest images take some seconds."""

PILLOW = "transforms.pixels:decode_image"

SLOW_BATCHES = 8
"""So many batches in a row must take longer to read than to decode before storage counts as slow;
one or two may be a busy machine."""

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
    """

    def __init__(self, error_type: str, message: str):
        super().__init__(message)
        self.error_type = error_type


class DecodedFile(NamedTuple):
    """What came of a file.

    Attributes:
        result: its image, or why it has none; None if the decoder could not read it.
        size_bytes: its size, None where it is not known.
        sha256: of its content, in hex; empty if the decoder did not come so far.
        read_s: seconds of reading it.
        decode_s: seconds of decoding it.
    """

    result: DecodedImage | DecoderError | None
    size_bytes: int | None = None
    sha256: str = ""
    read_s: float = 0.0
    decode_s: float = 0.0


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
        self._slow_batches = 0
        self._idle: queue.SimpleQueue[_Decoder | None] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(None)

    @property
    def reads_slowly(self) -> bool:
        """Whether files take longer to read than to decode, as on a network drive.

        Decoders wait while they read, so callers should then read themselves, many at a time.
        """
        return self._slow_batches >= SLOW_BATCHES

    def start(self) -> None:
        """Start the processes that are missing, without waiting until they are ready."""
        for decoder in self._take_idle():
            self._idle.put(decoder or _Decoder(self._decoder, self._timeout_s))

    def decode(self, data: bytes, size: int, resize: Resize) -> DecodedImage:
        """Decode an image in one of the processes, waiting for one that is free.

        Args:
            data: the content of the file.
            size: S, the target's width and height in pixels.
            resize: see `decode_image`.

        Raises:
            DecoderError: if it cannot be decoded, or brings the decoder down.
        """
        decoded = self._decode_alone(data, size, resize).result
        assert decoded is not None
        if isinstance(decoded, DecoderError):
            raise decoded
        return decoded

    def decode_batch(
        self, batch: Sequence[bytes | str], size: int, resize: Resize
    ) -> list[DecodedFile]:
        """Decode some images in one of the processes.

        If one of them brings the process down, each is decoded again alone, to tell which it was.

        Args:
            batch: for each the content of the file, or the path of a local one.
            size: S, the target's width and height in pixels.
            resize: see `decode_image`.
        """
        if len(batch) > 1:
            with contextlib.suppress(DecoderError):
                return self._decode_once(batch, size, resize)
        return [self._decode_alone(source, size, resize) for source in batch]

    def _decode_alone(self, source: bytes | str, size: int, resize: Resize) -> DecodedFile:
        start = time.perf_counter()
        try:
            try:
                return self._decode_once([source], size, resize)[0]
            except DecoderError as error:
                if error.error_type != CRASHED:
                    raise
                # The process may have been killed for another reason, such as a lack of memory.
                return self._decode_once([source], size, resize)[0]
        except DecoderError as error:
            length = len(source) if isinstance(source, bytes) else None
            return DecodedFile(error, length, decode_s=time.perf_counter() - start)

    def _decode_once(
        self, batch: Sequence[bytes | str], size: int, resize: Resize
    ) -> list[DecodedFile]:
        decoder = self._idle.get() or _Decoder(self._decoder, self._timeout_s)
        try:
            files = decoder.decode(batch, size, resize)
        finally:
            self._idle.put(decoder if decoder.is_alive() else None)
        if not self.reads_slowly:
            is_slow = sum(file.read_s for file in files) > sum(file.decode_s for file in files)
            self._slow_batches = self._slow_batches + 1 if is_slow else 0
        return files

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

    def decode(self, batch: Sequence[bytes | str], size: int, resize: Resize) -> list[DecodedFile]:
        contents = [source for source in batch if isinstance(source, bytes)]
        images = [len(source) if isinstance(source, bytes) else source for source in batch]
        try:
            request = {"size": size, "resize": resize, "images": images}
            send(self._connection, request, *contents)
            answer, body = self._receive()
        except TimeoutError:
            self.stop()
            message = f"the decoder took more than {self._timeout_s:g} s for this file"
            raise DecoderError("DecoderTimeout", message) from None
        except (EOFError, OSError):
            self.stop()
            raise self._explain_crash() from None
        pixels = iter(np.frombuffer(body, np.uint8).reshape(-1, size, size, 3))
        results: list[DecodedFile] = []
        for found, failed, file, read_s, decode_s in answer["images"]:
            result: DecodedImage | DecoderError | None = None
            if found:
                result = DecodedImage(next(pixels), *found)
            elif failed:
                result = DecoderError(*failed)
            size_bytes, sha256 = file or (None, "")
            results.append(DecodedFile(result, size_bytes, sha256, read_s, decode_s))
        return results

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        while True:
            answer, body = receive(self._answers)
            if "state" not in answer:
                return answer, body
            # Whoever holds the lock for large images is timed itself, so this wait ends.
            self._connection.settimeout(None if answer["state"] == "waiting" else self._timeout_s)

    def _explain_crash(self) -> DecoderError:
        code = self._process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return DecoderError(CRASHED, f"the decoder {how} on this file")


@functools.cache
def shared_pool() -> DecoderPool:
    """Return the pool of this process, with a decoder for each core."""
    return DecoderPool(count_cpus())
