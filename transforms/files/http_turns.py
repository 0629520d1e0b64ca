"""Being polite to hosts, over all threads of a process: `Turns`, `DownHosts`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_DOWN_S = 60.0


class Turns:
    """Lets so many at a time talk to a host; hosts do not wait for each other."""

    def __init__(self, per_host: int):
        self._per_host = per_host
        self._busy: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def take(self, host: str) -> Iterator[float]:
        """Wait for a turn, and keep it in the block; yields the seconds of waiting."""
        start = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._busy[host] < self._per_host)
            self._busy[host] += 1
        try:
            yield time.monotonic() - start
        finally:
            with self._changed:
                self._busy[host] -= 1
                if not self._busy[host]:  # A list may name a million hosts.
                    del self._busy[host]
                self._changed.notify_all()


class DownHosts:
    """Remembers for a minute which hosts could not be reached, however often that was tried.

    Of a dead host a list may have thousands of images, and each would be tried again.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, host: str) -> None:
        """Remember a host."""
        now = time.monotonic()
        self._until = {name: until for name, until in self._until.items() if until > now}
        self._until[host] = now + _DOWN_S

    def __contains__(self, host: str) -> bool:
        """Tell whether a host was unreachable just now."""
        return self._until.get(host, 0.0) > time.monotonic()
