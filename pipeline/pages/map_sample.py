"""The rows of a dataset that a map shows: `read_sample`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beamvec.embeddings import Dataset, schema
from beamvec.embeddings.batches import join_tables
from beamvec.embeddings.vectors import can_multiply
from beamvec.errors import DatasetError
from beamvec.pipeline.commands.search import VERIFY_ADVICE
from beamvec.pipeline.terminal import busy

MAX_GROUPS = 2_000
"""Row groups that are read at most, 2 million rows: a sample of a billion rows stays a matter of
minutes, and rows beside each other in a part, sorted by uri, are still few of the sample."""

_BATCH_ROWS = 8_192


@dataclass(frozen=True)
class Sample:
    """Some rows of a dataset, spread over all.

    Attributes:
        rows: their numbers, int64 [n], ascending.
        metadata: all their columns but the embedding.
        vectors: their embeddings divided by their lengths, float16 [n, D], which gives cosines to
            three digits in half the memory.
    """

    rows: npt.NDArray[np.int64]
    metadata: pa.Table
    vectors: npt.NDArray[np.float16]

    @property
    def uris(self) -> list[str]:
        """The uri of each row."""
        uris: list[str] = self.metadata[schema.URI].to_pylist()
        return uris


def read_sample(dataset: Dataset, max_rows: int) -> Sample:
    """Read rows spread over a dataset, all if it has no more; memory holds these and a batch.

    Raises:
        DatasetError: if an embedding has NaN or infinity.
    """
    rows = choose_rows([group.stop - group.start for group in dataset.row_groups], max_rows)
    vectors = np.empty((len(rows), dataset.dimension), np.float16)
    tables = [] if len(rows) else [dataset.take([], None).metadata]
    for start in range(0, len(rows), _BATCH_ROWS):
        busy(f"reading embeddings, {start:,} of {len(rows):,}")
        batch = dataset.take(rows[start : start + _BATCH_ROWS], None, normalize=True)
        if not can_multiply(batch.vectors):
            raise DatasetError(f"{dataset} has embeddings with NaN or infinity: {VERIFY_ADVICE}")
        vectors[start : start + _BATCH_ROWS] = batch.vectors
        tables.append(batch.metadata)
    return Sample(rows, join_tables(tables), vectors)


def choose_rows(group_rows: list[int], max_rows: int) -> npt.NDArray[np.int64]:
    """Return numbers of rows, spread evenly over all, or over `MAX_GROUPS` row groups of more.

    Args:
        group_rows: how many rows each row group has.
        max_rows: how many to choose; fewer if there are fewer.

    >>> choose_rows([3, 3], 3).tolist()
    [0, 2, 5]
    """
    counts = np.array(group_rows, np.int64)
    starts = np.cumsum(counts) - counts
    chosen = spread(len(counts), MAX_GROUPS)
    ends = np.cumsum(counts[chosen])
    places = spread(int(ends[-1]) if len(ends) else 0, max_rows)
    group = np.searchsorted(ends, places, "right")
    return starts[chosen][group] + places - (ends - counts[chosen])[group]


def spread(rows: int, count: int) -> npt.NDArray[np.int64]:
    """Return `count` numbers below `rows`, spread evenly, all if there are no more.

    >>> spread(9, 3).tolist(), spread(2, 3).tolist(), spread(0, 3).tolist()
    ([0, 4, 8], [0, 1], [])
    """
    return np.linspace(0, rows - 1, min(rows, count)).astype(np.int64)
