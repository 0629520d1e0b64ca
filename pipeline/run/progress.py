"""How far a run is: `ChunkWatcher`.

Progress is read from the chunk files, which every runner writes alike; where the workers are
threads of this process, the batches of chunks that are under way count as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beamvec.embeddings import schema
from beamvec.embeddings.layout import PART_SUFFIX, Layout
from beamvec.transforms.files import storage
from beamvec.transforms.records.tally import Tally

LOCAL_POLL_S = 0.5
REMOTE_POLL_S = 10.0
STILL_S = 60.0
"""After so long without progress a run says what it waits for, and again after twice as long."""

_READ_BUDGET_S = 5.0
_FAILED_COLUMNS = (schema.URI, schema.STAGE, schema.ERROR_TYPE, schema.MESSAGE)


@dataclass(frozen=True)
class Progress:
    """How far a run is, in images.

    Attributes:
        done: embedded or failed, of earlier runs too: in finished chunks, and in finished batches
            where the workers are threads of this process.
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
        tally: counts the images of this process's batches; None where the workers are elsewhere.
    """

    def __init__(
        self,
        layout: Layout,
        on_still: Callable[[Progress, float], Any] | None = None,
        on_failed: Callable[[FailedImage], Any] | None = None,
        tally: Tally | None = None,
    ):
        self._layout = layout
        self._on_still = on_still
        self._on_failed = on_failed
        self._tally = tally
        self._tallied = tally.count if tally else 0
        self._before: Progress | None = None
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
        if self._before is None:
            self._before = progress
        progress = replace(progress, done=self._count_batches(self._before))
        self._look_still(progress)
        return progress

    def _count_batches(self, before: Progress) -> int:
        """Return the images that are done, with those of chunks under way; never fewer than before.

        An image of this run is in a batch, or it failed and never came so far.
        """
        if self._tally is None or self._total is None:
            return self._done
        batches = self._tally.count - self._tallied + self._failed - before.failed
        # A chunk that is tried again is in batches twice.
        under_way = min(before.done + batches, max(self._total, self._done))
        return max(self._done, under_way, self._latest.done)

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
