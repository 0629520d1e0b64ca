"""What callers name rows and columns by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from beamvec.embeddings.arguments import as_columns, as_row_numbers, as_uris, require_condition
from beamvec.errors import ArgumentError, DatasetError

COLUMNS = ["uri", "width", "label"]


@pytest.mark.parametrize(
    "uris", [["a", "b"], ("a", "b"), iter(["a", "b"]), pa.array(["a", "b"]), [Path("a"), "b"]]
)
def test_uris_come_in_many_forms(uris):
    assert as_uris(uris) == ["a", "b"]


@pytest.mark.parametrize("uris", [3, [None], [b"a"], pa.array([1])])
def test_what_is_no_uri_is_refused(uris):
    with pytest.raises(ArgumentError, match="a uri must be a string"):
        as_uris(uris)


def test_a_column_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(DatasetError, match=r"no column widht \(did you mean width\?\)"):
        as_columns(["uri", "widht"], COLUMNS, "dataset")
    assert as_columns(["label", "uri", "label"], COLUMNS, "dataset") == ["label", "uri"]
    with pytest.raises(ArgumentError, match="list of names"):
        as_columns(7, COLUMNS, "dataset")


@pytest.mark.parametrize("rows", [[2, 0], (2, 0), np.array([2, 0], np.uint8), iter([2, 0])])
def test_row_numbers_come_in_many_forms(rows):
    assert as_row_numbers(rows, 3).tolist() == [2, 0]


@pytest.mark.parametrize(
    "rows", [[True, False], np.array([0.5]), [[1, 2]], ["a"], None, [[1], [2, 3]]]
)
def test_what_are_no_row_numbers_is_refused(rows):
    with pytest.raises(ArgumentError, match="rows"):
        as_row_numbers(rows, 3)


@pytest.mark.parametrize("rows", [[3], [-1]])
def test_rows_that_are_not_there(rows):
    with pytest.raises(IndexError, match="rows go from 0 to 2"):
        as_row_numbers(rows, 3)


def test_conditions_are_expressions_on_columns_that_are_there():
    columns = pa.schema([("width", pa.int32())])
    require_condition(pc.field("width") > 3, columns, "dataset")
    with pytest.raises(ArgumentError, match="expression of pyarrow"):
        require_condition("width > 3", columns, "dataset")
    with pytest.raises(DatasetError, match="did you mean width"):
        require_condition(pc.field("widht") > 3, columns, "dataset")
    with pytest.raises(DatasetError, match="cannot be filtered"):
        require_condition(pc.field("width") == "three", columns, "dataset")
