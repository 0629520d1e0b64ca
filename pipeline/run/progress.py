"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.

Progress is read from the chunk files, which every runner writes alike.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass

import pyarrow as pa
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
_READ_BUDGET_S = 5.0


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


class ChunkWatcher:
    """Counts images in the chunk files of an output folder, reading each file's footer once."""

    def __init__(self, layout: Layout):
        self._layout = layout
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
        return Progress(self._done, self._failed, self._total)

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
        self._done += footer.metadata.num_rows
        self._failed += footer.metadata.num_rows - nulls
        self._seen.add(path)


def show_progress(watcher: ChunkWatcher, work: threading.Thread, poll_s: float) -> None:
    """Show progress on standard error until the work ends."""
    show = _show_bar if sys.stderr.isatty() else _show_lines
    show(watcher, work, poll_s)


def _show_bar(watcher: ChunkWatcher, work: threading.Thread, poll_s: float) -> None:
    before = watcher.poll().done
    # Chunks come in bursts: the mean rate tells more than the latest one.
    with tqdm(initial=before, unit="img", smoothing=0, dynamic_ncols=True, leave=False) as bar:
        bar.set_description("listing images")
        while work.is_alive():
            work.join(poll_s)
            status = watcher.poll()
            if status.total is not None:
                bar.total = max(status.total, status.done)
                bar.set_description("merging" if status.done >= status.total else "embedding")
            bar.set_postfix(failed=status.failed, refresh=False)
            bar.update(status.done - bar.n)
            bar.refresh()


def _show_lines(watcher: ChunkWatcher, work: threading.Thread, poll_s: float) -> None:
    start, before = time.monotonic(), watcher.poll().done
    shown = start
    while work.is_alive():
        work.join(min(poll_s, LINE_EVERY_S))
        now = time.monotonic()
        if now - shown >= LINE_EVERY_S and work.is_alive():
            warn(describe_status(watcher.poll(), before, now - start))
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
        return "listing images"
    rate = (status.done - before) / elapsed_s
    left = format_duration((status.total - status.done) / rate) if rate > 0 else "unknown time"
    return (
        f"{status.done:,} of {status.total:,} images, {rate:.1f} images/s, {left} left, "
        f"{status.failed:,} failed"
    )
