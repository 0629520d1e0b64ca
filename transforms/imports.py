"""Importing large packages quickly."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType


@contextmanager
def large_imports() -> Iterator[None]:
    """Keep the garbage collector off while large packages are imported, and away from them later.

    A quarter of the time that TensorFlow takes goes into looking for garbage among objects that
    are there to stay.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


class _Absent(MetaPathFinder):
    def __init__(self, name: str):
        self._name = name

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 Import passes it.
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> None:
        if fullname == self._name:
            raise ModuleNotFoundError(f"{fullname} is not imported here")


@contextmanager
def without_module(name: str) -> Iterator[None]:
    """Let imports do without a module that they can do without, as if it were not installed."""
    absent = _Absent(name)
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)
