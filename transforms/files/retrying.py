"""Trying again what may succeed the next time: the one place where beamvec does so for files.

The stores' own libraries are told to try once. A call is bounded in time, not in tries: a store
that asks for fewer requests gets minutes, a broken connection one, and a disk seconds.
"""

from __future__ import annotations

import errno
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from beamvec.transforms.files.errors import (
    ConflictError,
    NoStoreError,
    StoreError,
    ThrottledError,
    TransientError,
)

THROTTLED_S = 300.0
TRANSIENT_S = 60.0
DISK_S = 5.0
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 16.0

_LASTING_ERRNOS = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
}
_T = TypeVar("_T")


class _Here(threading.local):
    retries = 0
    limit_s = math.inf


_here = _Here()


def patience_s(error: OSError) -> float:
    """Return for how long what failed so is tried again, counted from the first failure.

    >>> patience_s(FileNotFoundError(errno.ENOENT, "gone")), patience_s(ConnectionResetError())
    (0.0, 60.0)
    """
    if isinstance(error, ThrottledError):
        return THROTTLED_S
    if isinstance(error, (TransientError, ConnectionError, TimeoutError)):
        return TRANSIENT_S
    lasting = (StoreError, NoStoreError, ConflictError)
    return 0.0 if isinstance(error, lasting) or error.errno in _LASTING_ERRNOS else DISK_S


def call(function: Callable[[], _T], patience_s: Callable[[OSError], float] = patience_s) -> _T:
    """Call a function again while what it raises may pass; it must do no harm twice.

    Args:
        function: what to call.
        patience_s: returns for how long what failed so is tried again.

    Raises:
        StoreError: in the end, for what a store might have let pass; other errors as they are.
    """
    delay_s, tries, since = FIRST_DELAY_S, 1, None
    while True:
        try:
            return function()
        except OSError as error:
            now = time.monotonic()
            since = now if since is None else since
            # Many fail at the same moment: the jitter keeps them from coming back together.
            wait_s = delay_s * random.uniform(0.5, 1.5) + getattr(error, "retry_after_s", 0.0)
            if now + wait_s - since > min(patience_s(error), _here.limit_s):
                if not isinstance(error, TransientError):
                    raise
                reason = f"{error.strerror}; tried {tries} times in {now - since:.0f} s"
                raise StoreError(error.errno, reason, error.filename) from error
        time.sleep(wait_s)
        delay_s = min(2 * delay_s, MAX_DELAY_S)
        tries += 1
        _here.retries += 1


@contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """Count what is tried again in this thread: the function tells how often so far."""
    before = _here.retries
    yield lambda: _here.retries - before


@contextmanager
def limited(limit_s: float) -> Iterator[None]:
    """Be no more patient than that with anything in the block, in this thread."""
    before = _here.limit_s
    _here.limit_s = min(before, limit_s)
    try:
        yield
    finally:
        _here.limit_s = before
