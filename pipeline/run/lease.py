"""The lock of a folder in a store, which its owner renews; see `lock`."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from beamvec.embeddings.layout import Layout
from beamvec.errors import LostOutputError, OutputError
from beamvec.pipeline.run.hold import Hold, cannot_write, refuse
from beamvec.pipeline.run.lock_record import MAX_BYTES, LockRecord
from beamvec.transforms.files import retrying, storage
from beamvec.transforms.files.storage import ConflictError

RENEW_EVERY_S = 20.0
LEASE_S = 90.0
RENEW_PATIENCE_S = 30.0
"""How long a store that fails is asked again for a renewal; the next one comes anyway."""

_END_S = 10.0
# Also while the machine sleeps, where the system has such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@contextmanager
def hold(layout: Layout, tell: Callable[[str], None]) -> Iterator[Hold]:
    """Hold a folder in a store while the block runs, see `lock.hold_output`."""
    try:
        lease = _acquire(layout, tell)
    except OSError as error:
        raise cannot_write(layout, error) from error
    keeper = threading.Thread(target=lease.keep, name="lease", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        lease.ended.set()
        keeper.join(_END_S)
        if not lease.is_handed_over:
            lease.remove(tell)


def _acquire(layout: Layout, tell: Callable[[str], None]) -> _Lease:
    path, record = layout.lock_file, LockRecord.of_this_process()
    seen = _find_dead(layout)
    is_sure = storage.has_conditions(path)
    try:
        version = storage.write_if(path, record.to_json(), seen and seen[1])
    except ConflictError:
        raise _refuse(layout, _read(path)) from None
    if not is_sure:
        tell(
            f"the store of {layout.path} does not obey conditions: of two runs that start into it "
            "at the same moment both may go on, so start one at a time"
        )
        found = _read(path)
        if found is None or found[0].token != record.token:
            raise _refuse(layout, found)
    return _Lease(layout, record, seen and seen[0], version, is_sure)


def _find_dead(layout: Layout) -> tuple[LockRecord, str] | None:
    """Return what a dead run has left, None if it is nothing.

    Raises:
        OutputError: if the run may be alive.
    """
    path = layout.lock_file
    seen = _read(path)
    if seen is None:
        return None
    if seen[0].job:
        raise _refuse(layout, seen)
    age_s = _tell_age_s(path)
    if age_s is None and not storage.exists(path):
        return None  # It has just ended.
    if age_s is None or age_s <= LEASE_S:
        raise _refuse(layout, seen)
    return seen


def _tell_age_s(path: str) -> float | None:
    """Return how long ago a file was written, by the store's own clock, None if it does not tell.

    A file that is written now tells what time the store has.
    """
    probe = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        storage.write_file(probe, b"")
        now_s, written_s = storage.modified_s(probe), storage.modified_s(path)
    finally:
        with suppress(OSError):  # Not everybody who may write may delete.
            storage.delete(probe)
    return None if now_s is None or written_s is None else now_s - written_s


def _refuse(layout: Layout, seen: tuple[LockRecord, str] | None) -> OutputError:
    advice = f"if it died, this ends by itself within {LEASE_S:.0f} s"
    return refuse(layout, seen[0] if seen else LockRecord(), advice)


def _read(path: str) -> tuple[LockRecord, str] | None:
    found = storage.read_versioned(path, MAX_BYTES + 1)
    return found and (LockRecord.parse(found[0]), found[1])


class _Lease(Hold):
    """A hold that is renewed, by a thread and by whoever asks.

    Where the store obeys conditions, a renewal that it accepts proves that nobody else has had the
    folder meanwhile, however long it took. Elsewhere a lease that was not renewed in time is lost.
    """

    def __init__(
        self,
        layout: Layout,
        record: LockRecord,
        previous: LockRecord | None,
        version: str,
        is_sure: bool,
    ):
        super().__init__(layout, record, previous)
        self.ended = threading.Event()
        self._turn = threading.Lock()
        self._version = version
        self._is_sure = is_sure
        self._is_lost = False
        self._renewed_s = time.clock_gettime(_CLOCK)

    def keep(self) -> None:
        """Renew the lease until it ends, or is lost."""
        while not self.ended.wait(RENEW_EVERY_S):
            try:
                self._renew(self.record, RENEW_PATIENCE_S)
            except LostOutputError:  # Whoever asks next is told.
                return
            except OSError:  # The next renewal may succeed; until then whoever asks is told.
                continue

    def check(self) -> None:
        try:
            self.write(self.record)
        except OSError as error:
            raise LostOutputError(
                f"cannot tell whether this run still holds {self.layout.path}: {error}"
            ) from error

    def write(self, record: LockRecord) -> None:
        # A store that decides itself may take as long as it wants.
        self._renew(record, math.inf if self._is_sure else RENEW_PATIENCE_S)

    def _renew(self, record: LockRecord, patience_s: float) -> None:
        with self._turn, retrying.limited(patience_s):
            begun_s = time.clock_gettime(_CLOCK)
            if self._is_lost:
                raise self._lose(None)
            if not self._is_sure and begun_s - self._renewed_s > LEASE_S:
                raise self._lose("its lease has ended")
            record = replace(record, renewals=self.record.renewals + 1)
            self._version = self._write_own(record)
            self.record, self._renewed_s = record, begun_s

    def _write_own(self, record: LockRecord) -> str:
        """Write over the file that is ours, and return its new version."""
        path, content = self.layout.lock_file, record.to_json()
        try:
            return storage.write_if(path, content, self._version)
        except ConflictError:
            # A renewal that we gave up may have reached the store later.
            found = _read(path)
            if found is None or found[0].token != self.token:
                raise self._lose(found[0].describe() if found else None) from None
            return storage.write_if(path, content, found[1])

    def _lose(self, why: str | None) -> LostOutputError:
        self._is_lost = True
        told = f": {why}" if why else ""
        return LostOutputError(f"{self.layout.path} is no longer held by this run{told}")

    def remove(self, tell: Callable[[str], None]) -> None:
        """Delete the lock file, if it is still ours."""
        path = self.layout.lock_file
        try:
            with retrying.limited(_END_S):
                found = _read(path)
                if found and found[0].token == self.token:
                    storage.delete_if(path, found[1])
        except ConflictError:
            return  # Another has it.
        except OSError as error:
            tell(f"the lock file could not be removed, and ends in {LEASE_S:.0f} s: {error}")
