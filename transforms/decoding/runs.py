"""Images that are read in one go, from containers, and shared out to threads: `Turns`."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence

from beamvec.transforms.decoding.limits import FileTooLargeError
from beamvec.transforms.decoding.outcome import Cause, describe_error
from beamvec.transforms.decoding.reading import ImageFile, refuse
from beamvec.transforms.files import retrying
from beamvec.transforms.files.readers import RunReader
from beamvec.transforms.records.images import ImageRef

Numbered = tuple[int, ImageFile]
"""An image that was read, and its place in its chunk."""


def read_run(
    refs: Sequence[ImageRef], reader: RunReader, max_file_size: int
) -> Generator[Numbered, None, None]:
    """Read images, each once and timed, in the order in which they lie.

    Args:
        refs: the images.
        reader: reads them.
        max_file_size: in bytes. What is said to have more is not read, of all else no more than a
            byte beyond it.
    """
    wanted = []
    for i, ref in enumerate(refs):
        if ref.size_bytes is not None and ref.size_bytes > max_file_size:
            too_large = FileTooLargeError(ref.size_bytes, max_file_size)
            yield i, ImageFile(ref, b"", refuse(too_large))
        else:
            wanted.append(i)
    results = reader.read_run([refs[i] for i in wanted], max_file_size + 1)
    while True:
        start = time.perf_counter()
        with retrying.counted() as retries:
            found = next(results, None)
        if found is None:
            return
        at, (data, failed, _) = found
        error = Cause("read", *describe_error(failed)) if failed else None
        if len(data) > max_file_size:
            data, error = b"", refuse(FileTooLargeError(None, max_file_size))
        read_s = time.perf_counter() - start
        yield wanted[at], ImageFile(refs[wanted[at]], data, error, read_s, retries())


class Turns(Iterator[Numbered]):
    """A generator that several threads draw from: each waits for its turn.

    Args:
        images: what they draw from; it may move from thread to thread.
    """

    def __init__(self, images: Generator[Numbered, None, None]):
        self._images = images
        self._turn = threading.Lock()

    def __next__(self) -> Numbered:
        with self._turn:
            return next(self._images)

    def close(self) -> None:
        """Close what is open; whoever draws afterwards finds nothing more."""
        with self._turn:
            self._images.close()
