"""What is peculiar to this machine and process: cores, and importing large packages quickly."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def count_cpus() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


@contextmanager
def without_module(name: str) -> Iterator[None]:
    """Let imports do without a module that they can do without, as if it were not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # What stops an import of it.
    try:
        yield
    finally:
        del sys.modules[name]
