"""What an object store does: the protocol `ObjectStore`, for S3 and Google Cloud Storage.

Each method is one request or a few, tried again where that can help, with errors of `errors`.
"""

from __future__ import annotations

import calendar
import errno
import re
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple, Protocol

from beamvec.transforms.files.storage import ListedFile

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
"""How long a store may stay silent before the connection counts as broken."""

CONNECTIONS = 64
"""How many a client keeps open, for the threads that share it."""

PART_BYTES = 16 << 20
"""What a large object is written in; of 10,000 parts at most, in S3."""

ABSENT = ""
"""Stands for the version of an object that does not exist."""

_BUCKET = re.compile(r"[\w.:-]{1,255}", re.ASCII)


class Block(NamedTuple):
    """A part of an object.

    Attributes:
        data: its bytes.
        total: the size of the whole object.
        version: of the object that they were read from.
    """

    data: bytes
    total: int
    version: str


class Found(NamedTuple):
    """What a store tells of an object."""

    size_bytes: int
    modified_s: float
    version: str


class Upload(Protocol):
    """An object that is written in parts and appears when it is finished."""

    def send(self, part: bytes) -> None:
        """Send the next `PART_BYTES`."""

    def finish(self, rest: bytes) -> None:
        """Send what is left, and let the object appear."""

    def abort(self) -> None:
        """Throw away what was sent."""


class ObjectStore(Protocol):
    """A store; used by many threads at a time."""

    def read(
        self, uri: str, start: int = 0, size: int | None = None, version: str | None = None
    ) -> Block:
        """Read an object from a place on, of that version if one is given."""

    def write(self, uri: str, content: bytes, version: str | None = None) -> str:
        """Write a whole object and return its version.

        Args:
            uri: of the object.
            content: its bytes.
            version: of the object that it replaces, `ABSENT` for none; None for any or none.
        """

    def begin(self, uri: str) -> Upload:
        """Begin to write a large object."""

    def look_up(self, uri: str) -> Found | None:
        """Return what the store tells of an object, None if there is none."""

    def delete(self, uri: str, version: str | None = None) -> None:
        """Delete an object, of that version if one is given; none is no error."""

    def copy(self, source: str, target: str) -> None:
        """Copy an object of any size within the store."""

    def list(self, prefix: str) -> Iterator[ListedFile]:
        """Yield the objects whose URIs begin so."""


def split_uri(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of a URI; the key may be empty.

    >>> split_uri("s3://bucket/photos/a.jpg")
    ('bucket', 'photos/a.jpg')

    Raises:
        OSError: if no bucket can have that name.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        told = f"{bucket!r} is no bucket's name" if bucket else "No bucket is named"
        raise OSError(errno.EINVAL, f"{told}; it takes {scheme}://bucket/name", uri)
    return bucket, key


def split_object(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of an object's URI.

    Raises:
        OSError: if it names none.
    """
    bucket, key = split_uri(uri)
    if not key:
        raise OSError(errno.EINVAL, "Names a bucket, and no object in it", uri)
    return bucket, key


def to_seconds(time: datetime) -> float:
    """Return the seconds since 1970."""
    return calendar.timegm(time.utctimetuple()) + time.microsecond / 1e6
