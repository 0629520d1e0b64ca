"""Values of the user's own columns, there and back."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.transforms.records.own_columns import NO_COLUMNS, to_arrow, to_python

INT64 = st.none() | st.integers(-(2**63), 2**63 - 1)
TEMPORAL = [
    pa.timestamp("ns"),
    pa.timestamp("s", "Europe/Berlin"),
    pa.duration("ns"),
    pa.duration("us"),
]


@pytest.mark.parametrize("type_", TEMPORAL, ids=str)
@given(values=st.lists(INT64, max_size=9))
def test_times_keep_every_nanosecond(type_, values):
    array = pa.array(values, pa.int64()).cast(type_)
    assert to_python(array) == values
    assert to_arrow(to_python(array), type_).equals(array)


@given(st.lists(st.none() | st.integers(0, 86_399_999_999_999), max_size=9))
def test_times_of_day_too(values):
    array = pa.array(values, pa.int64()).cast(pa.time64("ns"))
    assert to_arrow(to_python(array), array.type).equals(array)


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None, "é"]),
        pa.array([[1, None], None, []], pa.list_(pa.int8())),
        pa.array([{"x": 1, "y": None}, None]),
        pa.array([1.5, None], pa.float16()),
        pa.array([], pa.date32()),
    ],
    ids=lambda array: str(array.type),
)
def test_other_values_come_back_with_their_type(array):
    again = to_arrow(to_python(array), array.type)
    assert again.equals(array)
    assert again.type == array.type


def test_no_columns_are_no_columns():
    assert NO_COLUMNS.names == []
