"""Where the bytes of an image come from: the protocol `ImageReader`, and the one for files."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from beamvec.transforms.files import storage
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.records.images import ImageRef


class ImageReader(Protocol):
    """How images are read; picklable, and used by many threads at a time."""

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:
        """Read an image, transient errors retried; errors are returned, not raised.

        Args:
            ref: the image.
            limit_bytes: read no more than its first bytes.
        """

    def local_path(self, ref: ImageRef) -> str | None:
        """Return the path of a local file that holds just this image, None if there is none.

        Decoder processes read it themselves, which saves sending it to them.
        """


@runtime_checkable
class RunReader(ImageReader, Protocol):
    """A reader of images that lie side by side, which reads a chunk's in a few long reads."""

    def read_run(
        self, refs: Sequence[ImageRef], limit_bytes: int | None = None
    ) -> Iterator[tuple[int, ReadResult]]:
        """Read images, each once, in the order in which they lie.

        Memory holds a block of what is read, or one image if that is larger. Several threads may
        draw from the iterator, one at a time.

        Args:
            refs: the images.
            limit_bytes: read no more than the first bytes of each.

        Yields:
            An image's place in `refs`, and what came of reading it; errors are not raised.
        """


_FILE = "file://"


def as_file_uri(path: str) -> str:
    """Return the `file:` URI of a path, by its bytes (RFC 8089)."""
    return _FILE + urllib.parse.quote(os.fsencode(path))


def _path_of(uri: str) -> str:
    """Return the path that a `file:` URI names; other URIs are returned as they are."""
    if not uri.startswith(_FILE):
        return uri
    return os.fsdecode(urllib.parse.unquote_to_bytes(uri.removeprefix(_FILE)))


def place_of(ref: ImageRef) -> str:
    """Return where the bytes of an image are: its place, or its uri if it has none.

    >>> place_of(ImageRef("a.jpg")), place_of(ImageRef("7", place="a.jpg"))
    ('a.jpg', 'a.jpg')
    """
    return ref.uri if ref.place is None else str(ref.place)


class FileReader:
    """Reads images that are files of their own, on any filesystem of Beam."""

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:
        """Read the file that the place names, or the uri."""
        return storage.try_read(_path_of(place_of(ref)), limit_bytes)

    def local_path(self, ref: ImageRef) -> str | None:
        """Return the place if it is a plain path, or the path that a `file:` URI names.

        >>> FileReader().local_path(ImageRef("photos/a.jpg"))
        'photos/a.jpg'
        """
        path = _path_of(place_of(ref))
        return path if storage.is_local(path) else None


FILES = FileReader()
"""The reader unless another is given."""
