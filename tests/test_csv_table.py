"""The types of separated values, and the text that stays as it is written."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beamvec.transforms.inputs.csv_table import CsvTable


def read_column(tmp_path, fields):
    path = tmp_path / "m.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["uri", "x"], *([f"{i}.jpg", f] for i, f in enumerate(fields))])
    table = CsvTable(str(path), ("uri",))
    schema = table.find_schema()
    [column] = pa.Table.from_batches(table.read(pa.schema([schema.field("x")]))).columns
    return column


@pytest.mark.parametrize(
    ("fields", "type_", "values"),
    [
        (["7", "-12", "0"], pa.int64(), [7, -12, 0]),
        (["7", "", "NA"], pa.int64(), [7, None, None]),
        (["1.50", "0.5", "-0.25", "3"], pa.float64(), [1.5, 0.5, -0.25, 3]),
        (["1e-05", "2.5E8", "1e+16", "nan"], pa.float64(), [1e-05, 2.5e8, 1e16, None]),
        (["true", "False", ""], pa.bool_(), [True, False, None]),
        (["10:30:00", ""], pa.time32("s"), None),
        (["2024-01-05", ""], pa.date32(), None),
        (["2024-01-05 10:00:00"], pa.timestamp("s"), None),
    ],
)
def test_numbers_dates_and_truth_have_their_types(tmp_path, fields, type_, values):
    column = read_column(tmp_path, fields)
    assert column.type == type_
    assert column.null_count == sum(field in ("", "NA", "nan") for field in fields)
    if values is not None:
        assert column.to_pylist() == values


@pytest.mark.parametrize(
    "fields",
    [
        ["007", "8"],
        ["-01", "2.5"],
        ["+4912345", "1"],
        ["12345678901234567890", "1"],
        ["12345678901234567", "0.5"],
        ["12e4", "3456"],
        ["16:09", "04:03"],
        ["1", "true"],
        ["0,5", "1"],
        ["NA", "US"],
        ["NA", "NA"],
        ["", ""],
        ["null", ""],
        ["2024-01-05", "soon"],
    ],
)
def test_what_would_not_come_back_the_same_stays_text(tmp_path, fields):
    column = read_column(tmp_path, fields)
    assert column.type == pa.string()
    assert column.to_pylist() == fields


numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str), st.from_regex(r"[+-]?[0-9]{1,18}", fullmatch=True)
)


@given(st.lists(numbers, min_size=1, max_size=5))
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_digit_is_ever_lost(tmp_path, fields):
    column = read_column(tmp_path, fields)
    assert list(map(str, column.to_pylist())) == fields


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=5)
)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_text_stays_as_it_is(tmp_path, fields):
    column = read_column(tmp_path, [*fields, "text"])
    assert column.to_pylist() == [*fields, "text"]


@pytest.mark.parametrize("size", [300_000, 600_000, 1_100_000])
def test_quoted_newlines_come_through_whatever_block_they_are_in(tmp_path, size):
    fields = ["line\nafter line\n" * (size // 16), "short", 'with ""quotes""\n' * (size // 16)] * 3
    assert read_column(tmp_path, fields).to_pylist() == fields


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_the_separator_is_told_by_the_column_that_is_wanted(tmp_path, separator):
    rows = io.StringIO()
    csv.writer(rows, delimiter=separator).writerows([["a,b;c", "uri"], ["x\ty|z", "1.jpg"]])
    (tmp_path / "m.csv").write_text(rows.getvalue())
    table = CsvTable(str(tmp_path / "m.csv"), ("uri",))
    assert table.find_schema().names == ["a,b;c", "uri"]
