"""Being told to stop: SIGTERM, as service managers and schedulers send it, is heeded as Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


@contextmanager
def heed_signals(ctrl_c: bool = False) -> Iterator[None]:
    """Raise `Terminated` for SIGTERM while this lasts, unless it is ignored or heeded already.

    Args:
        ctrl_c: whether to raise `KeyboardInterrupt` for Ctrl-C from now on.
    """
    if threading.current_thread() is not threading.main_thread():  # Others hear of no signal.
        yield
        return
    if ctrl_c:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    is_plain = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if is_plain:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if is_plain:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if ctrl_c:  # Python's own end is no longer than its start, and as bare.
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def code_of_stop() -> int:
    """Return the exit code of whoever handles a stop: 143 for SIGTERM, 130 for Ctrl-C."""
    is_term = isinstance(sys.exc_info()[1], Terminated)
    return 128 + (signal.SIGTERM if is_term else signal.SIGINT)
