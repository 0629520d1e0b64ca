"""Importing large packages quickly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
