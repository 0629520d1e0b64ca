"""Where the bytes of an image come from: the protocol `ImageReader`, and the one for files."""

from __future__ import annotations

from typing import Protocol

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


class FileReader:
    """Reads images that are files of their own, on any filesystem of Beam."""

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:
        """Read the file that the uri names."""
        return storage.try_read(ref.uri, limit_bytes)

    def local_path(self, ref: ImageRef) -> str | None:
        """Return the uri if it is a plain path.

        >>> FileReader().local_path(ImageRef("photos/a.jpg"))
        'photos/a.jpg'
        """
        return ref.uri if storage.is_local(ref.uri) else None


FILES = FileReader()
"""The reader unless another is given."""
