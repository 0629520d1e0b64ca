"""Decoding in processes of its own: a file that crashes or hangs the decoder costs one row.

Each process decodes one image at a time, so it is always clear which one brought it down. It ends
by itself when its parent is gone, however that died.

What bounds the memory, whatever the number of cores: images that take more than 16 MiB
(`pixels.TURN_BYTES`) are decoded together only as long as they have room in a gibibyte
(`places.ROOM_BYTES`), and a larger one alone. Worker processes of a runner have a pool each.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from beamvec.transforms.decoding.decoder import Decoder, DecoderDiedError
from beamvec.transforms.decoding.limits import DEFAULT_LIMITS, Limits
from beamvec.transforms.decoding.messages import Request
from beamvec.transforms.decoding.outcome import Outcome
from beamvec.transforms.decoding.pixels import DecodedImage
from beamvec.transforms.decoding.places import Places
from beamvec.transforms.decoding.reading import ImageFile
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.decoding.retries import decode_with_retries
from beamvec.transforms.files.readers import FILES, ImageReader
from beamvec.transforms.machine import count_cpus
from beamvec.transforms.records.images import ImageRef

TIMEOUT_S = 120.0
"""A decoder that takes longer for an image is killed; the largest images take some seconds."""

START_S = 60.0
"""For so long starting a decoder is tried again where the system refuses it and none is there."""

PILLOW = "beamvec.transforms.decoding.pixels:decode_image"

SLOW_PARCELS = 8
"""So many parcels in a row must take longer to read than to decode before storage counts as slow;
one or two may be a busy machine."""


class DecoderError(Exception):
    """An image could not be decoded.

    Attributes:
        error_type: the name of the decoder's exception, or `DecoderCrashed` or `DecoderTimeout`.
    """

    def __init__(self, error_type: str, message: str):
        super().__init__(message)
        self.error_type = error_type


class DecoderPool:
    """Processes that decode images, started when they are first needed; for many threads.

    Args:
        count: processes, as many as cores that should decode.
        decoder: what they call, `module:function`, with the signature of `decode_image`.
        timeout_s: how long an image may take.
        start_s: for how long starting a process is tried again where none is there.
        limits: what is not read or decoded.
    """

    def __init__(
        self,
        count: int,
        decoder: str = PILLOW,
        timeout_s: float = TIMEOUT_S,
        start_s: float = START_S,
        limits: Limits = DEFAULT_LIMITS,
    ):
        self.count = count
        self.max_file_size = limits.max_file_size
        start = functools.partial(Decoder, decoder, timeout_s, limits)
        # Starting and decoding take `timeout_s` each at most.
        self._places = Places(count, start, start_s, stuck_s=3 * timeout_s + start_s)
        self._slow_parcels = 0

    @property
    def reads_slowly(self) -> bool:
        """Whether files take longer to read than to decode, as on a network drive.

        Decoders wait while they read, so callers should then read themselves, many at a time.
        """
        return self._slow_parcels >= SLOW_PARCELS

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._places.is_closed

    def pids(self) -> list[int]:
        """Return the ids of the processes that are there, in no particular order."""
        return self._places.pids()

    def describe(self) -> str:
        """Say in some words what is going on, for whoever wonders why it takes so long."""
        return self._places.describe()

    def start(self) -> None:
        """Start the processes that are missing, without waiting until they are ready.

        Those that cannot be started now are tried again when they are needed.

        Raises:
            PoolClosedError: if the pool is closed.
        """
        self._places.fill()

    def decode(self, data: bytes, resizing: Resizing) -> DecodedImage:
        """Decode an image in one of the processes, waiting for one that is free.

        Args:
            data: the content of the file.
            resizing: how images become square.

        Raises:
            DecoderError: if it cannot be decoded, or brings the decoder down.
            DecoderStartError: if there is no process, and none can be started.
            PoolClosedError: if the pool is closed, or is while the image is decoded.
        """
        [outcome] = self.decode_parcel([ImageFile(ImageRef(""), data)], resizing)
        if outcome.image is None:
            assert outcome.error
            raise DecoderError(outcome.error.error_type, outcome.error.message)
        return outcome.image

    def decode_parcel(
        self, parcel: Sequence[ImageFile], resizing: Resizing, reader: ImageReader = FILES
    ) -> list[Outcome]:
        """Decode some images in one of the processes, waiting for one that is free.

        An image that brings it down costs the others nothing; see `decode_with_retries`.

        Args:
            parcel: the images; for those that could not be read, the outcome is that error.
            resizing: how images become square.
            reader: reads what a process could not.

        Returns:
            An outcome for each image, in their order.

        Raises:
            DecoderStartError: if there is no process, and none can be started.
            PoolClosedError: if the pool is closed, or is while the images are decoded.
        """
        ask = functools.partial(self._ask, resizing=resizing)
        return decode_with_retries(parcel, ask, reader, self.max_file_size)

    def _ask(self, sent: Sequence[ImageFile], alone: bool, resizing: Resizing) -> list[Outcome]:
        request = Request(resizing, [source.content for source in sent])
        task = sent[0].ref.uri if sent else ""
        with self._places.borrow(task, alone) as (place, decoder):
            try:
                outcomes = decoder.ask(request, functools.partial(self._places.take_turn, place))
            except DecoderDiedError:
                # One that `close` killed says nothing about the images, so they must not fail.
                self._places.require_open()
                raise
            # Whoever has the decoder next will find other pixels in its memory.
            outcomes = [each.keep(outcome) for each, outcome in zip(sent, outcomes, strict=True)]
        self._note_pace(outcomes)
        return [
            outcome.add_effort(source.read_s, read_retries=source.read_retries)
            if source.read_s
            else outcome
            for source, outcome in zip(sent, outcomes, strict=True)
        ]

    def _note_pace(self, outcomes: Sequence[Outcome]) -> None:
        if self.reads_slowly:
            return
        read_s = sum(outcome.read_s for outcome in outcomes)
        is_slow = read_s > sum(outcome.decode_s for outcome in outcomes)
        self._slow_parcels = self._slow_parcels + 1 if is_slow else 0

    def close(self) -> None:
        """End the processes, also those that are busy; whoever waits gets a `PoolClosedError`."""
        self._places.close()


@dataclass(frozen=True)
class SharedPool:
    """A handle for the one pool that a process has for some settings; to be pickled and compared.

    A runner makes many copies of a transform in a process, one for each thread. With a handle in it
    they share a pool, so that as many processes decode as there are cores. Beam's own `Shared` is
    not for this: it keeps only the object alive that was asked for last, and `RunInference` keeps
    the model in it.

    Attributes:
        count: processes, None for one for each core.
        decoder: see `DecoderPool`.
        timeout_s: see `DecoderPool`.
        start_s: see `DecoderPool`.
        limits: see `DecoderPool`.
    """

    count: int | None = None
    decoder: str = PILLOW
    timeout_s: float = TIMEOUT_S
    start_s: float = START_S
    limits: Limits = DEFAULT_LIMITS

    def get(self) -> DecoderPool:
        """Return the pool of this process, a new one if there is none or it has been closed.

        Equal handles get the same pool. Keep what you get as long as your work lasts: so it ends
        with a `PoolClosedError` when the pool is closed, and does not go on with a new one.
        """
        with _POOLS_LOCK:
            pool = _POOLS.get(self)
            if pool is None or pool.is_closed:
                count = self.count or count_cpus()
                pool = DecoderPool(count, self.decoder, self.timeout_s, self.start_s, self.limits)
                _POOLS[self] = pool
            return pool


_POOLS: dict[SharedPool, DecoderPool] = {}
_POOLS_LOCK = threading.Lock()


def _forget_pools() -> None:
    """Leave the pools to the process that made them, in one that was forked from it.

    Their threads are not there, so that who was busy stays so, and a lock may be held for ever.
    """
    global _POOLS_LOCK
    _POOLS_LOCK = threading.Lock()
    _POOLS.clear()


os.register_at_fork(after_in_child=_forget_pools)
