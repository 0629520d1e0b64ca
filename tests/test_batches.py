"""Rows that were read, joined and cut anew."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.embeddings.batches import Batch, choose_rows, cut_batches, join_batches, join_tables
from beamvec.errors import DatasetError


def make(start: int, rows: int) -> Batch:
    numbers = np.arange(start, start + rows)
    return Batch(pa.table({"n": numbers}), np.stack([numbers, -numbers], 1).astype(np.float32))


def numbers(batch: Batch) -> list[int]:
    found = batch.metadata["n"].to_pylist()
    assert batch.vectors[:, 0].tolist() == found  # Row i belongs to vector i.
    return found


@given(st.lists(st.integers(0, 7), max_size=9), st.integers(1, 9))
def test_cutting_keeps_every_row_in_order(sizes, rows):
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    batches = [make(int(start), size) for start, size in zip(starts, sizes, strict=False)]
    cut = list(cut_batches(batches, rows))
    assert [n for batch in cut for n in numbers(batch)] == list(range(sum(sizes)))
    assert all(len(batch.vectors) == rows for batch in cut[:-1])
    assert all(0 < len(batch.vectors) <= rows for batch in cut[-1:])


def test_rows_are_chosen_in_the_order_asked_for():
    assert numbers(choose_rows(make(10, 5), np.array([4, 0, 0], np.int64))) == [14, 10, 10]


def test_batches_are_joined():
    assert numbers(join_batches([make(0, 2), make(2, 3)])) == [0, 1, 2, 3, 4]


def test_other_columns_are_refused():
    with pytest.raises(DatasetError, match="different columns"):
        join_tables([pa.table({"a": [1]}), pa.table({"b": ["x"]})])
