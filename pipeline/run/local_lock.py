"""The lock of a local folder, which the kernel keeps; see `lock`."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from beamvec.embeddings.layout import Layout
from beamvec.errors import LostOutputError
from beamvec.pipeline.run.hold import Hold, cannot_write, refuse
from beamvec.pipeline.run.lock_record import MAX_BYTES, LockRecord

# Not through links: the file is written to. Without waiting: a pipe may have its name.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def hold(layout: Layout, tell: Callable[[str], None]) -> Iterator[Hold]:
    """Hold a local folder while the block runs, see `lock.hold_output`."""
    try:
        file = _lock(layout)
    except OSError as error:
        raise cannot_write(layout, error) from error
    try:
        held = _begin(layout, file)
        try:
            yield held
        finally:
            if not held.is_handed_over:
                held.remove(tell)
    finally:
        os.close(file)


def _lock(layout: Layout) -> int:
    """Open the lock file and lock it; one that is there and not locked is a dead run's."""
    path = layout.lock_file
    os.makedirs(layout.path, exist_ok=True)
    while True:
        file = os.open(path, _FLAGS, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "Not a regular file", path)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(file, path):
                return file
        except BlockingIOError:
            holder = LockRecord.parse(os.pread(file, MAX_BYTES + 1, 0))
            os.close(file)
            raise refuse(layout, holder, "wait for it, or stop it") from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # Its owner removed it between our opening and our locking it.


def _is_same_file(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except FileNotFoundError:
        return False


def _begin(layout: Layout, file: int) -> _LocalHold:
    """Write down who holds the folder."""
    try:
        content = os.pread(file, MAX_BYTES + 1, 0)
        previous = LockRecord.parse(content) if content else None
        if previous and previous.job:
            raise refuse(layout, previous, "")
        held = _LocalHold(layout, LockRecord.of_this_process(), previous, file)
        try:
            held.write(held.record)
        except OSError:
            if previous is None:  # Nobody's word is lost with it.
                os.unlink(layout.lock_file)
            raise
    except OSError as error:
        raise cannot_write(layout, error) from error
    return held


class _LocalHold(Hold):
    def __init__(self, layout: Layout, record: LockRecord, previous: LockRecord | None, file: int):
        super().__init__(layout, record, previous)
        self._file = file

    def check(self) -> None:
        if not _is_same_file(self._file, self.layout.lock_file):
            raise LostOutputError(
                f"{self.layout.lock_file} was removed while this run held {self.layout.path}; "
                "another run may have it now"
            )

    def write(self, record: LockRecord) -> None:
        content = record.to_json()
        # In one go, so that a process that is killed here leaves the old or the new.
        if os.pwrite(self._file, content, 0) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.layout.lock_file)
        os.ftruncate(self._file, len(content))
        os.fsync(self._file)
        self.record = record

    def remove(self, tell: Callable[[str], None]) -> None:
        try:
            if _is_same_file(self._file, self.layout.lock_file):
                os.unlink(self.layout.lock_file)
        except OSError as error:
            tell(f"the lock file could not be removed, and keeps nobody out: {error}")
