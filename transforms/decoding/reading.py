"""Images on their way into decoding: `ImageFile`."""

from __future__ import annotations

import time
from typing import NamedTuple

from beamvec.transforms.decoding.outcome import Cause, Outcome, describe_error
from beamvec.transforms.files.readers import ImageReader
from beamvec.transforms.records.images import ImageRef


class ImageFile(NamedTuple):
    """An image on its way into decoding.

    Attributes:
        ref: names it.
        content: what its file holds, or the path of a local file, which the decoder reads itself.
        error: why it could not be read; `content` is empty then.
        read_s: seconds of reading it here.
        read_retries: how often that was tried again.
    """

    ref: ImageRef
    content: bytes | str
    error: Cause | None = None
    read_s: float = 0.0
    read_retries: int = 0

    def fail(self, error: Cause, decode_s: float = 0.0) -> Outcome:
        """Return the outcome of an image of which there is nothing but an error."""
        was_read = isinstance(self.content, bytes) and not self.error
        size_bytes = len(self.content) if was_read else self.ref.size_bytes
        return Outcome(None, error, size_bytes, "", self.read_s, decode_s, self.read_retries)


def read_file(ref: ImageRef, reader: ImageReader) -> ImageFile:
    """Read an image here, and time it."""
    start = time.perf_counter()
    data, failed, retries = reader.read(ref)
    error = Cause("read", *describe_error(failed)) if failed else None
    return ImageFile(ref, data, error, time.perf_counter() - start, retries)
