"""Killing a run before one of its file operations: `Crash`.

From that operation on, none of the process does anything any more, as if it had been killed there:
what it still tries, such as cleaning up, fails.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from beamvec.transforms.files import storage

_NAMES = ("replace", "rename", "unlink", "rmdir", "mkdir", "pwrite")
"""What changes files, but for writing into those with a temporary name; `pwrite` is of the lock."""


_STORE_NAMES = ("write_if", "delete_if", "rename", "delete", "delete_files", "open_atomically")


class Crash:
    """Counts the file operations below a folder, and kills before one of them.

    Args:
        folder: where operations count; a path, or the URI of a folder in a store.
        at: which of them is the first that is not done, from 0; None kills nothing.
    """

    def __init__(self, folder: Path | str, at: int | None = None):
        self.count = 0
        is_local = isinstance(folder, Path)
        self._module, self._names = (os, _NAMES) if is_local else (storage, _STORE_NAMES)
        self._folder = str(folder)
        self._at = at

    @property
    def is_dead(self) -> bool:
        """Whether the moment has come."""
        return self._at is not None and self.count > self._at

    @contextmanager
    def watch(self) -> Iterator[Crash]:
        """Count, and kill, while the block runs."""
        with pytest.MonkeyPatch.context() as patch:
            for name in self._names:
                patch.setattr(self._module, name, self._guard(getattr(self._module, name)))
            yield self

    def _guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if isinstance(args[0], int) or any(map(self._is_below, args)):
                self._count()
            return function(*args, **options)

        return call

    def _is_below(self, arg: Any) -> bool:
        return f"{arg}/".startswith(f"{self._folder}/")

    def _count(self) -> None:
        self.count += 1
        if self.is_dead:
            raise OSError(errno.EROFS, "killed")
