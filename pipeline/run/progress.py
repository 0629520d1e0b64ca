"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.

Progress is read from the chunk files, which every runner writes alike.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from beamvec.embeddings import schema
from beamvec.embeddings.layout import PART_SUFFIX, Layout
from beamvec.pipeline.terminal import warn
from beamvec.pipeline.units import format_duration
from beamvec.transforms.files import storage

LOCAL_POLL_S = 0.5
REMOTE_POLL_S = 10.0
LINE_EVERY_S = 15.0
STILL_S = 60.0
"""After so long without progress a run says what it waits for, and again after twice as long."""

_READ_BUDGET_S = 5.0
_FAILED_COLUMNS = (schema.URI, schema.STAGE, schema.ERROR_TYPE, schema.MESSAGE)
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {postfix}"
"""Without a rate of tqdm's own, which goes by the time of day: a clock that is set would show."""


@dataclass(frozen=True)
class Progress:
    """How far a run is, in images.

    Attributes:
        done: in finished chunks, of earlier runs too.
        failed: how many of them have no embedding.
        total: what the input names, None until it has been listed.
    """

    done: int = 0
    failed: int = 0
    total: int | None = None

    @property
    def phase(self) -> str:
        """What the run is at."""
        if self.total is None:
            return "listing images"
        return "merging" if self.done >= self.total else "embedding"


class FailedImage(NamedTuple):
    """An image without an embedding, and why."""

    uri: str
    stage: str
    error_type: str
    message: str


class ChunkWatcher:
    """Counts images in the chunk files of an output folder, reading each file's footer once.

    Args:
        layout: the folder.
        on_still: is called with the progress, and for how many seconds there was none, when that
            is `STILL_S`, and again after each doubling.
        on_failed: is called with each image that failed, but for those of the last moments: the
            folder goes with the run.
    """

    def __init__(
        self,
        layout: Layout,
        on_still: Callable[[Progress, float], Any] | None = None,
        on_failed: Callable[[FailedImage], Any] | None = None,
    ):
        self._layout = layout
        self._on_still = on_still
        self._on_failed = on_failed
        self._latest = Progress()
        self._moved_s = time.monotonic()
        self._still_s = STILL_S
        self._seen: set[str] = set()
        self._done = 0
        self._failed = 0
        self._total: int | None = None

    def poll(self) -> Progress:
        """Look once; a folder with very many new files is read over several calls."""
        deadline = time.monotonic() + _READ_BUDGET_S
        try:
            if self._total is None:
                self._total = self._read_total()
            for path in storage.list_files(self._layout.chunks):
                if path.endswith(PART_SUFFIX) and path not in self._seen:
                    self._count(path)
                if time.monotonic() > deadline:
                    break
        except (OSError, pa.ArrowException):
            pass  # The folder is removed at the end, while it is being read.
        progress = Progress(self._done, self._failed, self._total)
        self._look_still(progress)
        return progress

    def _look_still(self, progress: Progress) -> None:
        still_s = time.monotonic() - self._moved_s
        if progress != self._latest:
            self._latest, self._still_s = progress, STILL_S
            self._moved_s += still_s
        elif self._on_still and still_s >= self._still_s:
            self._still_s *= 2
            self._on_still(progress, still_s)

    def _read_total(self) -> int | None:
        path = self._layout.total_file
        if not storage.exists(path):
            return None
        return int(json.loads(storage.read_bytes(path))["images"])

    def _count(self, path: str) -> None:
        with storage.open_file(path) as file:
            footer = pq.ParquetFile(file)
            column = footer.schema_arrow.names.index(schema.STAGE)
            # The embedding is a list, but one leaf as well, so that indices agree.
            groups = [footer.metadata.row_group(i) for i in range(footer.num_row_groups)]
            nulls = sum(group.column(column).statistics.null_count for group in groups)
            failed = footer.metadata.num_rows - nulls
            if self._on_failed and failed:
                rows = footer.read(columns=list(_FAILED_COLUMNS))
                rows = rows.filter(pc.is_valid(rows[schema.STAGE])).select(_FAILED_COLUMNS)
                for values in zip(*rows.to_pydict().values(), strict=True):
                    self._on_failed(FailedImage(*values))
        self._done += footer.metadata.num_rows
        self._failed += failed
        self._seen.add(path)


def show_progress(
    watcher: ChunkWatcher,
    work: threading.Thread,
    poll_s: float,
    log: Callable[..., Any] | None = None,
) -> None:
    """Show progress on standard error until the work ends.

    Args:
        watcher: counts.
        work: what is looked at.
        poll_s: how often.
        log: takes event, message and values, and prints lines of another kind.
    """
    if sys.stderr.isatty() and log is None:
        _show_bar(watcher, work, poll_s)
    else:
        _show_lines(watcher, work, poll_s, log or _warn_of)


def _warn_of(_: str, message: str, **__: Any) -> None:
    warn(message)


def _show_bar(watcher: ChunkWatcher, work: threading.Thread, poll_s: float) -> None:
    start, before = time.monotonic(), watcher.poll().done
    with tqdm(initial=before, bar_format=_BAR, dynamic_ncols=True, leave=False) as bar:
        bar.set_description("listing images")
        while work.is_alive():
            work.join(poll_s)
            status = watcher.poll()
            if status.total is not None:
                bar.total = max(status.total, status.done)
                pace = describe_pace(status, before, time.monotonic() - start)
                bar.set_postfix_str(pace, refresh=False)
            bar.set_description(status.phase, refresh=False)
            bar.update(status.done - bar.n)
            bar.refresh()


def _show_lines(
    watcher: ChunkWatcher, work: threading.Thread, poll_s: float, log: Callable[..., Any]
) -> None:
    start, before = time.monotonic(), watcher.poll().done
    shown = start
    while work.is_alive():
        work.join(min(poll_s, LINE_EVERY_S))
        now, status = time.monotonic(), watcher.poll()
        if now - shown >= LINE_EVERY_S and work.is_alive():
            text = describe_status(status, before, now - start)
            log("progress", text, done=status.done, failed=status.failed, total=status.total)
            shown = now


def describe_status(status: Progress, before: int, elapsed_s: float) -> str:
    """Describe progress in a line.

    Args:
        status: how far the run is.
        before: images that were done when it started.
        elapsed_s: seconds since then.

    >>> describe_status(Progress(done=300, failed=2, total=1000), 100, 20.0)
    '300 of 1,000 images, 10.0 images/s, 1 min 10 s left, 2 failed'
    """
    if status.total is None:
        return status.phase
    pace = describe_pace(status, before, elapsed_s)
    return f"{status.done:,} of {status.total:,} images, {pace}"


def describe_pace(status: Progress, before: int, elapsed_s: float) -> str:
    """Describe how fast a run goes whose total is known, see `describe_status`.

    Chunks come in bursts: the mean rate tells more than that of the latest one.
    """
    assert status.total is not None
    rate = max(0, status.done - before) / max(elapsed_s, 1e-3)
    left_s = max(0, status.total - status.done) / rate if rate else None
    left = "unknown time" if left_s is None else format_duration(left_s)
    return f"{rate:.1f} images/s, {left} left, {status.failed:,} failed"
