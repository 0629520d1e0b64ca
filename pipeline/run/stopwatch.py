"""How long something takes, by a clock that nobody sets: `Stopwatch`."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Stopwatch:
    """Started once, and read in any process; picklable.

    Attributes:
        boot: names this machine and the time since it was started.
        steady_s: when it was started, by the clock of that, which only goes forward.
        time_s: likewise, in seconds since 1970.
    """

    boot: str
    steady_s: float
    time_s: float

    @classmethod
    def start(cls) -> Stopwatch:
        """Start one now."""
        return cls(_read_boot(), time.monotonic(), time.time())

    def elapsed_s(self) -> float:
        """Return the seconds since the start; elsewhere, as the clocks of both machines tell."""
        if self.boot and self.boot == _read_boot():
            return time.monotonic() - self.steady_s
        return max(0.0, time.time() - self.time_s)

    def now_s(self) -> float:
        """Return the seconds since 1970, as if nobody had set the clock since the start."""
        return self.time_s + self.elapsed_s()


def _read_boot() -> str:
    """Return what differs between machines and their starts; empty where nothing tells."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""
