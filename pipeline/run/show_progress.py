"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from beamvec.embeddings.counted import counted
from beamvec.pipeline.run.pace import Pace
from beamvec.pipeline.run.progress import ChunkWatcher, Progress
from beamvec.pipeline.status import count_columns
from beamvec.pipeline.terminal import warn
from beamvec.pipeline.units import format_duration

FIRST_LINE_S = 2.0
LINE_EVERY_S = 15.0
"""Lines come at first after this, then after twice as long each time, and so on up to that."""

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
"""Without a rate of tqdm's own, which goes by the time of day: a clock that is set would show."""

_WIDE = 80
"""Columns from which on nothing has to be short."""

Log = Callable[..., Any]
"""Takes event, message and values, and prints a line."""


def show_progress(
    watcher: ChunkWatcher, work: threading.Thread, poll_s: float, log: Log | None = None
) -> None:
    """Show progress on standard error until the work ends.

    Args:
        watcher: counts.
        work: what is looked at.
        poll_s: how often.
        log: prints lines of another kind.
    """
    if sys.stderr.isatty() and log is None:
        _show_bar(watcher, work, poll_s)
    else:
        _show_lines(watcher, work, poll_s, log or _warn)


def _warn(_: str, message: str, **__: Any) -> None:
    warn(message)


def _watch(
    watcher: ChunkWatcher, work: threading.Thread, wait_s: float
) -> Iterator[tuple[Progress, Pace]]:
    """Yield how far the work is, and how fast it goes, until it ends."""
    pace = Pace(watcher.poll().done, time.monotonic())
    while work.is_alive():
        work.join(wait_s)
        status = watcher.poll()
        pace.note(status.done, status.total, time.monotonic())
        yield status, pace


def _show_bar(watcher: ChunkWatcher, work: threading.Thread, poll_s: float) -> None:
    before = watcher.poll().done
    options: dict[str, Any] = {"bar_format": _BAR, "dynamic_ncols": True, "leave": False}
    with tqdm(desc="listing images", initial=before, **options) as bar:
        for status, pace in _watch(watcher, work, poll_s):
            if status.total is not None:
                bar.total = max(status.total, status.done)
                text = describe_pace(status, pace, is_short=count_columns() < _WIDE)
                bar.set_postfix_str(text, refresh=False)
            bar.set_description_str(status.phase, refresh=False)
            bar.update(status.done - bar.n)
            bar.refresh()


def _show_lines(watcher: ChunkWatcher, work: threading.Thread, poll_s: float, log: Log) -> None:
    shown, wait_s = time.monotonic(), min(FIRST_LINE_S, LINE_EVERY_S)
    for status, pace in _watch(watcher, work, min(poll_s, wait_s)):
        now = time.monotonic()
        if now - shown >= wait_s and work.is_alive():
            shown, wait_s = now, min(2 * wait_s, LINE_EVERY_S)
            log(
                "progress",
                describe_status(status, pace),
                **{"done": status.done, "failed": status.failed, "total": status.total},
                images_per_s=round(pace.rate, 3),
                left_s=None if pace.left_s is None else round(pace.left_s, 1),
            )


def describe_status(status: Progress, pace: Pace) -> str:
    """Describe progress in a line.

    >>> pace = Pace(100, 0.0)
    >>> pace.note(200, 1000, 10.0)
    >>> pace.note(300, 1000, 20.0)
    >>> describe_status(Progress(done=300, failed=2, total=1000), pace)
    '300 of 1,000 images, 2 failed, 1 min 10 s left, 10.0 images/s'
    """
    if status.total is None:
        return status.phase
    return f"{status.done:,} of {counted(status.total, 'image')}, {describe_pace(status, pace)}"


def describe_pace(status: Progress, pace: Pace, is_short: bool = False) -> str:
    """Describe what failed and how fast a run goes; the least important comes last.

    Args:
        status: how far it is.
        pace: how fast.
        is_short: whether there is little room.
    """
    parts = [f"{status.failed:,} failed"]
    if pace.left_s is not None:
        parts.append(f"{format_duration(pace.left_s)} left")
    else:
        parts.append(f"{format_duration(pace.elapsed_s)} so far")
    if pace.rate:
        parts.append(f"{pace.rate:.1f}" + ("/s" if is_short else " images/s"))
    return ", ".join(parts)
