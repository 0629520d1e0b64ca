"""What goes wrong over HTTP, in words for a failure row, and what is tried again.

No message has a URL in it: rows have their uri, and queries may be signatures.
"""

from __future__ import annotations

import email.utils
import errno
import http.client
import ssl
import time

from urllib3.exceptions import ConnectTimeoutError, HTTPError

from beamvec.transforms.files.errors import StoreError, ThrottledError, TransientError
from beamvec.transforms.files.http_connections import Deadline
from beamvec.transforms.files.urls import UrlSettings

THROTTLED_S = 120.0
TRANSIENT_S = 15.0
LENGTH_S = 2.0
"""For how long is tried again what failed: shorter than with a store of one's own, as of public
URLs many are dead for good, and each would take that long."""

_TRANSIENT = (408, 425, 500, 502, 503, 504, *range(520, 528))


class UnreachableError(TransientError):
    """No connection can be made."""


class LengthError(TransientError):
    """A body is shorter or longer than its header says."""


class RobotsTagError(StoreError):
    """The owner of an image refuses that a model sees it."""


class TooSlowError(StoreError):
    """An image takes longer than it may."""


def patience_s(error: OSError) -> float:
    """Return for how long what failed so is tried again, counted from the first failure."""
    if isinstance(error, ThrottledError):
        return THROTTLED_S
    if isinstance(error, LengthError):
        return LENGTH_S
    return TRANSIENT_S if isinstance(error, TransientError) else 0.0


def error_of_answer(status: int, retry_after: str | None) -> OSError:
    """Return the error that an answer means which is no image.

    >>> error_of_answer(404, None), error_of_answer(429, "7").retry_after_s
    (FileNotFoundError(2, 'the host answers 404'), 7.0)
    """
    reason = f"the host answers {status}" + ("" if status != 206 else ", a part, unasked")
    if status in (404, 410):
        return FileNotFoundError(errno.ENOENT, reason)
    if status in (401, 402, 403, 407, 451):
        return PermissionError(errno.EACCES, reason)
    wait_s = _seconds_until(retry_after)
    if status == 429 or (status in _TRANSIENT and wait_s is not None):
        throttled = ThrottledError(errno.EIO, reason)
        throttled.retry_after_s = wait_s or 0.0
        return throttled
    return (TransientError if status in _TRANSIENT else StoreError)(errno.EIO, reason)


def _seconds_until(retry_after: str | None) -> float | None:
    """Return what `Retry-After` says, in seconds from now: it has seconds, or a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def explain(error: Exception, deadline: Deadline, settings: UrlSettings) -> OSError:
    """Return the error for what a connection, urllib3 or `http.client` raised."""
    if deadline.is_over:
        return TooSlowError(errno.ETIMEDOUT, f"takes longer than {settings.fetch_timeout_s:g} s")
    cause = _find_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return StoreError(errno.EIO, f"the host's certificate is not valid: {cause.verify_message}")
    if isinstance(cause, ssl.SSLError):
        return StoreError(errno.EIO, f"no secure connection: {cause.reason}")
    if isinstance(error, ConnectTimeoutError):  # A refusal is one of these too.
        reason = getattr(cause, "strerror", None) or "no answer"
        return UnreachableError(errno.EIO, f"cannot connect: {reason}")
    if isinstance(cause, TimeoutError):
        return TransientError(errno.ETIMEDOUT, f"silent for {settings.silence_timeout_s:g} s")
    if isinstance(cause, http.client.IncompleteRead):
        return LengthError(errno.EIO, "it is cut: fewer bytes come than are announced")
    if isinstance(cause, OSError):
        reason = getattr(cause, "strerror", None) or "the host closed it"
        return TransientError(errno.EIO, f"the connection broke: {reason}")
    return StoreError(errno.EIO, f"the answer is no HTTP ({type(cause).__name__})")


def _find_cause(error: BaseException) -> BaseException:
    """Return what is below the errors that urllib3 wraps around what happened."""
    while isinstance(error, HTTPError) and error.__cause__ is not None:
        error = error.__cause__
    return error
