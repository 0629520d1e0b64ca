"""Images on their way into decoding: `ImageFile`."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from beamvec.transforms.decoding.limits import FILE_TOO_LARGE, FileTooLargeError
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
        out: where its pixels are to be put, uint8 [S, S, 3]; None for memory of their own.
    """

    ref: ImageRef
    content: bytes | str
    error: Cause | None = None
    read_s: float = 0.0
    read_retries: int = 0
    out: npt.NDArray[np.uint8] | None = None

    def keep(self, outcome: Outcome) -> Outcome:
        """Return what a decoder made of it, its pixels copied out of the decoder's memory."""
        image = outcome.image
        if image is None:
            return outcome
        out = np.empty_like(image.pixels) if self.out is None else self.out
        out[:] = image.pixels
        return outcome._replace(image=image._replace(pixels=out))

    def fail(self, error: Cause, decode_s: float = 0.0) -> Outcome:
        """Return the outcome of an image of which there is nothing but an error."""
        was_read = isinstance(self.content, bytes) and not self.error
        size_bytes = len(self.content) if was_read else self.ref.size_bytes
        return Outcome(None, error, size_bytes, "", self.read_s, decode_s, self.read_retries)


def read_file(ref: ImageRef, reader: ImageReader, max_file_size: int) -> ImageFile:
    """Read an image here, and time it.

    Args:
        ref: the image.
        reader: reads it.
        max_file_size: in bytes. What is said to have more is not read, of all else no more than a
            byte beyond it.
    """
    if ref.size_bytes is not None and ref.size_bytes > max_file_size:
        return ImageFile(ref, b"", refuse(FileTooLargeError(ref.size_bytes, max_file_size)))
    start = time.perf_counter()
    data, failed, retries = reader.read(ref, max_file_size + 1)
    error = Cause("read", *describe_error(failed)) if failed else None
    if len(data) > max_file_size:
        data, error = b"", refuse(FileTooLargeError(None, max_file_size))
    return ImageFile(ref, data, error, time.perf_counter() - start, retries)


def refuse(error: FileTooLargeError) -> Cause:
    """Return why an image is not read that is too large."""
    return Cause("read", FILE_TOO_LARGE, str(error))
