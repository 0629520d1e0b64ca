"""What can go wrong with files in stores: all of it is an `OSError` that names the URI."""

from __future__ import annotations

import errno

_THROTTLED = (429, 503)
_TRANSIENT = (408, 409, 500, 502, 504)


class StoreError(OSError):
    """A store failed; what might have passed was tried again."""


class NoStoreError(OSError):
    """A URI leads to no store: its scheme is unknown, or needs a package or credentials."""


class ConflictError(OSError):
    """Somebody else has written or deleted the file meanwhile."""


class TransientError(StoreError):
    """What may pass by itself: a broken connection, a server that failed.

    Attributes:
        retry_after_s: how long it asks to be left alone.
    """

    retry_after_s: float = 0.0


class ThrottledError(TransientError):
    """A store asks for fewer requests, or is not there for a while."""


def conflict(uri: str) -> ConflictError:
    """Return the error for a file that does not have the version that it should have."""
    return ConflictError(errno.EEXIST, "Written or deleted by somebody else meanwhile", uri)


def error_of_status(status: int | None, reason: str, uri: str) -> OSError:
    """Return the error that a store's answer over HTTP means.

    >>> error_of_status(404, "", "s3://bucket/key")
    FileNotFoundError(2, 'No such object or bucket')
    >>> error_of_status(503, "Slow Down", "s3://bucket/key")
    ThrottledError(5, 'Slow Down')
    """
    reason = " ".join(reason.split()) or f"the store answered {status}"
    if status == 404:
        return FileNotFoundError(errno.ENOENT, "No such object or bucket", uri)
    if status in (401, 403):
        return PermissionError(errno.EACCES, f"Access denied ({reason})", uri)
    if status in (304, 412):
        return conflict(uri)
    if status in _THROTTLED:
        return ThrottledError(errno.EIO, reason, uri)
    if status in _TRANSIENT:
        return TransientError(errno.EIO, reason, uri)
    if status == 501:  # Of conditions, say, which not every store knows.
        return StoreError(errno.ENOTSUP, reason, uri)
    return StoreError(errno.EIO, reason, uri)
