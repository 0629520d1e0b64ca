"""Images counted while they are worked on, for whoever shows progress: `Tally`."""

from __future__ import annotations

import threading


class Tally:
    """A number that threads add to."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._count = 0

    def add(self, count: int) -> None:
        """Count some more.

        >>> tally = Tally()
        >>> tally.add(2), tally.add(3), tally.count
        (None, None, 5)
        """
        with self._turn:
            self._count += count

    @property
    def count(self) -> int:
        """What has been counted."""
        return self._count


EMBEDDED = Tally()
"""Images that runs have embedded in this process, batch by batch: chunks take many seconds."""
