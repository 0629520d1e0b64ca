"""Rows that were read: `Batch`, and choosing, joining and cutting batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beamvec.errors import DatasetError


class Batch(NamedTuple):
    """Some rows of a dataset.

    Attributes:
        metadata: those of their other columns that were asked for.
        vectors: their embeddings, float32 [n, D], in the same order.
    """

    metadata: pa.Table
    vectors: npt.NDArray[np.float32]


def choose_rows(batch: Batch, rows: npt.NDArray[np.int64]) -> Batch:
    """Return some rows of a batch, in the order of their numbers."""
    # Made of the buffer: pa.array imports pandas where that is installed, which takes a second.
    places = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])
    return Batch(batch.metadata.take(places), batch.vectors[rows])


def join_tables(tables: Iterable[pa.Table]) -> pa.Table:
    """Put the rows of tables one after the other.

    Raises:
        DatasetError: if they have different columns.
    """
    try:
        return pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise DatasetError(f"the files of the dataset have different columns: {reason}") from error


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Put the rows of one or more batches one after the other."""
    if len(batches) == 1:
        return batches[0]
    return Batch(
        join_tables([batch.metadata for batch in batches]),
        np.concatenate([batch.vectors for batch in batches]),
    )


def cut_batches(batches: Iterable[Batch], rows: int) -> Iterator[Batch]:
    """Cut batches anew into batches of some rows; only the last may be shorter."""
    held: list[Batch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch.vectors)
        if count < rows:
            continue
        whole = join_batches(held)
        stop = count - count % rows
        for start in range(0, stop, rows):
            end = start + rows
            yield Batch(whole.metadata.slice(start, rows), whole.vectors[start:end])
        held = [Batch(whole.metadata.slice(stop), whole.vectors[stop:])]
        count -= stop
    if count:
        yield join_batches(held)
