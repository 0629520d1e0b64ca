"""What follows from the content of local files, computed once in a process: `OncePerContent`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


class OncePerContent(Generic[_Result]):
    """Results by the files that they follow from, as long as these stay as they are.

    A file that was replaced or written is another one: by its number, size, or a time of change,
    also the one that nobody can set. Of threads that ask at the same time one computes.
    """

    def __init__(self) -> None:
        self._results: dict[object, _Result] = {}
        self._turn = threading.Lock()

    def get(self, paths: Iterable[str], compute: Callable[[], _Result]) -> _Result:
        """Return what `compute` returns, or what it returned for the same files before.

        Raises:
            OSError: if one of them is not there.
        """
        key = tuple((path, *_look_at(path)) for path in paths)
        with self._turn:
            if key not in self._results:
                self._results[key] = compute()
            return self._results[key]


def _look_at(path: str) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
