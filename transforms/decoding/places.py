"""Who decodes when: the places of a pool's decoders, which threads take and give back.

Nothing here waits without a bound: a decoder is stopped when it takes too long, and whatever else
may be stuck fails who waits for it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from beamvec.errors import BeamvecError
from beamvec.redact import redact
from beamvec.transforms.decoding.decoder import LOOKS, Decoder

ROOM_BYTES = 1 << 30
"""How much memory all images together may take that are decoded at the same time, or one alone."""

_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 2.0


class PoolClosedError(RuntimeError):
    """The pool has been closed; nothing can be said of the images that it was to decode."""


class DecoderStartError(BeamvecError):
    """There is no decoder, and none can be started, or all of them are stuck."""


@dataclass(eq=False)
class Place:
    """A place for a decoder.

    Attributes:
        decoder: who has it, None where none was started yet, or the last one is gone.
        task: the uri of what it decodes.
        since_s: when it was taken, by the monotonic clock.
        held_bytes: how much memory an image takes that is decoded there, if that is much.
    """

    decoder: Decoder | None = None
    task: str = ""
    since_s: float = 0.0
    held_bytes: int = 0


class Places:
    """Some places, for many threads.

    Args:
        count: how many.
        start: starts a decoder.
        start_s: for how long that is tried again where no decoder is there at all.
        stuck_s: longer than anything takes after which whoever waits goes on.
    """

    def __init__(self, count: int, start: Callable[[], Decoder], start_s: float, stuck_s: float):
        self._start = start
        self._start_s = start_s
        self._stuck_s = stuck_s
        # Guards all below. What waits for any free place waits apart, and is woken one by one: to
        # wake all threads for each took as long as a tenth of decoding a photograph.
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._freed = threading.Condition(lock)
        self._idle = deque(Place() for _ in range(count))
        self._busy: set[Place] = set()
        self._waiting: deque[Place] = deque()
        self._wants_alone = 0
        self._moves = 0
        self._failing_since_s: float | None = None
        self._failed_start = ""
        self.is_closed = False

    def pids(self) -> list[int]:
        """Return the ids of the processes that are there, in no particular order."""
        with self._changed:
            places = (*self._idle, *self._busy)
            return [place.decoder.pid for place in places if place.decoder]

    def describe(self) -> str:
        """Say in some words what is going on."""
        with self._changed:
            busy = sorted(self._busy, key=lambda place: place.since_s)
            pids = ", ".join(str(place.decoder.pid) for place in busy if place.decoder)
            failed, wants_alone = self._failed_start, self._wants_alone
        if failed:
            return f"no decoder can be started: {failed}"
        if not busy:
            return "no decoder is busy"
        busy_s = time.monotonic() - busy[0].since_s
        rest = ", all others wait for one that wants to be alone" if wants_alone else ""
        return (
            f"waiting for decoders (pids {pids}), the oldest of them busy for {busy_s:.0f} s with "
            f"{redact(busy[0].task)}{rest}"
        )

    def fill(self) -> None:
        """Start the decoders that are missing, as far as that is possible."""
        with self._changed, contextlib.suppress(OSError, MemoryError):
            self.require_open()
            for place in self._idle:
                place.decoder = place.decoder or self._start()

    @contextlib.contextmanager
    def borrow(self, task: str, alone: bool = False) -> Iterator[tuple[Place, Decoder]]:
        """Wait for a decoder that is free, or can be started.

        Args:
            task: the uri of what it is to decode.
            alone: whether no other decoder may be busy meanwhile.

        Raises:
            PoolClosedError: if the pool is closed, or is meanwhile.
            DecoderStartError: if there is none and none can be started.
        """
        with self._stop_others() if alone else contextlib.nullcontext():
            place = self._take_filled(task, alone)
            try:
                assert place.decoder
                yield place, place.decoder
            finally:
                self._give_back(place)

    @contextlib.contextmanager
    def _stop_others(self) -> Iterator[None]:
        with self._changed:
            self._wants_alone += 1
        try:
            yield
        finally:
            with self._changed:
                self._wants_alone -= 1
                self._changed.notify_all()
                self._freed.notify_all()

    def _take_filled(self, task: str, alone: bool) -> Place:
        delay_s = _FIRST_DELAY_S
        while True:
            place = self._take(task, alone)
            try:
                self._fill(place)
                return place
            except (OSError, MemoryError) as error:
                self._give_back(place)
                self._judge_failed_start(error)
            except BaseException:
                self._give_back(place)
                raise
            with self._changed:
                self._changed.wait_for(lambda: self.is_closed, delay_s)
            delay_s = min(2 * delay_s, _MAX_DELAY_S)

    def _take(self, task: str, alone: bool) -> Place:
        with self._changed:
            if alone:
                self._wait_for(lambda: not self._busy)
            else:
                self._wait_for(lambda: bool(self._idle) and not self._wants_alone, self._freed)
            place = self._idle.popleft()
            place.task, place.since_s = task, time.monotonic()
            self._busy.add(place)
            return place

    def _fill(self, place: Place) -> None:
        if place.decoder and not place.decoder.is_alive():
            place.decoder.stop()
            place.decoder = None
        if place.decoder is None:
            decoder = self._start()
            with self._changed:  # From now on `close` kills it.
                place.decoder = decoder
        self.require_open()
        place.decoder.wait_ready()
        self._failing_since_s, self._failed_start = None, ""

    def _judge_failed_start(self, error: Exception) -> None:
        """Raise if there is no decoder, and was none for too long."""
        with self._changed:
            self.require_open()
            now = time.monotonic()
            self._failed_start = str(error) or type(error).__name__
            self._failing_since_s = self._failing_since_s or now
            if any(place.decoder for place in (*self._idle, *self._busy)):
                return  # It goes on with fewer.
            if isinstance(error, (FileNotFoundError, PermissionError)):  # Waiting does not help.
                raise DecoderStartError(
                    f"no process that decodes can be started: {self._failed_start}"
                ) from error
            if now - self._failing_since_s >= self._start_s:
                raise DecoderStartError(
                    f"no process that decodes could be started for {self._start_s:g} s: "
                    f"{self._failed_start}; free memory, or raise the limits of processes and "
                    "open files"
                ) from error

    def _give_back(self, place: Place) -> None:
        with self._changed:
            self._moves += 1
            self._busy.remove(place)
            place.held_bytes = 0
            gone = None
            if place.decoder and (self.is_closed or not place.decoder.is_alive()):
                gone, place.decoder = place.decoder, None
            if not self.is_closed:
                # Whoever comes next takes the first, and need not start one if another can.
                add = self._idle.appendleft if place.decoder else self._idle.append
                add(place)
            self._changed.notify_all()
            self._freed.notify()
        if gone:
            gone.stop()

    def take_turn(self, place: Place, size_bytes: int) -> None:
        """Wait until there is room for an image, as long as its place is taken.

        All wait in a row, so that a large one is not passed over for ever. One that is larger than
        all the room waits until it is the only one.

        Args:
            place: where it is decoded; what was decoded there before takes no room any more.
            size_bytes: how much memory it takes.
        """
        with self._changed:
            place.held_bytes = 0
            self._waiting.append(place)
            self._changed.notify_all()
            try:
                self._wait_for(lambda: self._waiting[0] is place and self._has_room(size_bytes))
                place.held_bytes = size_bytes
                self._moves += 1
            finally:
                self._waiting.remove(place)
                self._changed.notify_all()

    def _has_room(self, size_bytes: int) -> bool:
        held_bytes = sum(place.held_bytes for place in self._busy)
        return not held_bytes or held_bytes + size_bytes <= ROOM_BYTES

    def _wait_for(
        self, is_ready: Callable[[], bool], condition: threading.Condition | None = None
    ) -> None:
        condition = condition or self._changed
        moves, looks = self._moves, 0
        # Not seconds, as in `Decoder`: a process that was stopped for long goes on.
        while not condition.wait_for(lambda: self.is_closed or is_ready(), self._stuck_s / LOOKS):
            before, moves = moves, self._moves
            looks = looks + 1 if moves == before else 0
            if looks == LOOKS:
                raise DecoderStartError(
                    f"the processes that decode are stuck: none has ended anything for "
                    f"{self._stuck_s:g} s; look at where the images are, and start again"
                )
        self.require_open()

    def require_open(self) -> None:
        """Raise `PoolClosedError` if the pool is closed."""
        if self.is_closed:
            raise PoolClosedError("the pool has been closed; `SharedPool.get` makes a new one")

    def close(self) -> None:
        """End the processes, also those that are busy; whoever waits gets a `PoolClosedError`."""
        with self._changed:
            self.is_closed = True
            idle = [place.decoder for place in self._idle if place.decoder]
            self._idle.clear()
            for place in self._busy:
                if place.decoder:
                    place.decoder.kill()  # The thread that waits for it stops it.
            self._changed.notify_all()
            self._freed.notify_all()
        for decoder in idle:
            decoder.stop()
