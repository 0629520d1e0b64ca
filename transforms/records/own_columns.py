"""The user's own columns: values that ride along from the input into the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

NO_COLUMNS = pa.schema([])


def to_python(values: pa.Array) -> list[Any]:
    """Convert an Arrow array to Python objects that `to_arrow` turns back without loss."""
    return list((values.cast(pa.int64()) if _is_temporal(values.type) else values).to_pylist())


def to_arrow(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    """Convert Python objects of `to_python` back to an Arrow array of the type they had."""
    if _is_temporal(type_):
        return pa.array(values, pa.int64()).cast(type_)
    return pa.array(values, type_)


def _is_temporal(type_: pa.DataType) -> bool:
    # Python's own classes end at microseconds; as integers, nanoseconds come through.
    types = pa.types
    return bool(types.is_timestamp(type_) or types.is_duration(type_) or types.is_time64(type_))
