"""What a command is busy with, in a line that the next one takes the place of: `Status`."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

TICK_S = 0.5
_COLUMNS = 80
LINE_EVERY_S = 15.0
"""Where there is no terminal, a line comes after this, and after each such time again."""


def count_columns() -> int:
    """Return how wide the terminal of standard error is."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS


class Status:
    """Tells what goes on and for how long, from the first half second on, until it is over.

    Args:
        write: prints a text and what ends it on standard error.
    """

    def __init__(self, write: Callable[[str, str], object]):
        self._write = write
        self._turn = threading.RLock()
        self._text = ""
        self._since_s = 0.0
        self._width = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, text: str) -> None:
        """Say what goes on from now."""
        with self._turn:
            if text != self._text:
                self._text, self._since_s = text, time.monotonic()
            if self._thread is None:
                self._ended = threading.Event()
                about = self._ended, sys.stderr.isatty()
                tick = threading.Thread(target=self._tick, args=about, daemon=True)
                self._thread = tick
                tick.start()

    def end(self) -> None:
        """Say nothing any more, and leave the line empty."""
        with self._turn:
            self._ended.set()
            self._text, self._thread = "", None
            self.clear()

    def clear(self) -> None:
        """Make room for another line."""
        with self._turn:
            if self._width:
                self._write(" " * self._width, "\r")
                self._width = 0

    def _tick(self, ended: threading.Event, is_terminal: bool) -> None:
        while not ended.wait(TICK_S if is_terminal else LINE_EVERY_S):
            with self._turn:
                if ended.is_set():
                    return
                try:
                    self._draw(is_terminal)
                except (OSError, ValueError):  # Nobody looks on any more.
                    return

    def _draw(self, is_terminal: bool) -> None:
        text = f"{self._text}, {time.monotonic() - self._since_s:.0f} s"
        if not is_terminal:
            self._write(text, "\n")
            return
        text = text[: count_columns() - 1]
        self._write(text.ljust(self._width), "\r")
        self._width = len(text)
