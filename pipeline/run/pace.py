"""How fast a run goes, and how long it will take: `Pace`."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 30.0
_STEPS = 8
"""Steps that a window holds at least, however long they take: chunks elsewhere take long."""

_OFF_S = 3.0
_OFF = 0.15
"""By how much the time left may be off before it is set anew, in seconds, or as a part of it."""


class Pace:
    """Measures progress over the last half minute.

    The time left counts down with the clock, and is set anew only if it turns out to be off: so it
    falls on a machine that is steady, instead of following each batch.

    Args:
        done: images that are done already.
        now_s: the time, by any clock.
    """

    def __init__(self, done: int, now_s: float):
        # Nothing is measured before the first step, which has the start in it.
        self._start, self._start_s = done, now_s
        self._steps: deque[tuple[float, int]] = deque()
        self._left_s: float | None = None
        self._now_s = now_s

    def note(self, done: int, total: int | None, now_s: float) -> None:
        """Take note of how far the run is."""
        latest = self._steps[-1][1] if self._steps else self._start
        if done > latest:
            self._steps.append((now_s, done))
            while len(self._steps) > _STEPS + 1 and self._steps[1][0] < now_s - _WINDOW_S:
                self._steps.popleft()
        elapsed_s, self._now_s = now_s - self._now_s, now_s
        self._count_down(elapsed_s, None if total is None else max(0, total - done))

    @property
    def rate(self) -> float:
        """Images a second, 0 as long as nothing is known."""
        if len(self._steps) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._steps[0], self._steps[-1]
        gap_s = (last_s - first_s) / (len(self._steps) - 1)
        # The time since the last step counts once it is longer than steps take.
        end_s = last_s + max(0.0, self._now_s - last_s - 2 * gap_s)
        return (last - first) / max(end_s - first_s, 1e-3)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._now_s - self._start_s

    @property
    def left_s(self) -> float | None:
        """Seconds to the end, None as long as nothing is known."""
        return self._left_s

    def _count_down(self, elapsed_s: float, images: int | None) -> None:
        rate = self.rate
        if images is None or not rate:
            return
        expected_s = images / rate
        counted_s = None if self._left_s is None else max(0.0, self._left_s - elapsed_s)
        is_off = counted_s is None or abs(expected_s - counted_s) > max(_OFF_S, _OFF * expected_s)
        self._left_s = expected_s if is_off or counted_s is None else counted_s
