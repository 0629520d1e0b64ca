"""Manifests of a JSON object a line."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from beamvec.transforms.files import storage

_BATCH_ROWS = 10_000


@dataclass(frozen=True)
class JsonTable:
    """A file with a JSON object a line; blank lines do not count.

    Types are those of JSON: text stays text, whatever it looks like. What a row lacks is null.
    """

    path: str

    def find_schema(self) -> pa.Schema:
        """Read the file in full and return its columns and their types.

        Raises:
            ValueError: naming the row that is no object, or the column whose values do not go
                together.
        """
        found = pa.schema([])
        for rows in self._read_rows():
            names = dict.fromkeys(name for row in rows for name in row)
            fields = [pa.field(name, _infer(name, rows)) for name in names]
            found = functools.reduce(_unify, fields, found)
        return found

    def read(self, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, of these columns."""
        for rows in self._read_rows():
            arrays = [pa.array([row.get(f.name) for row in rows], f.type) for f in columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=columns)

    def describe_layout(self) -> str:
        """Say that there is nothing to choose."""
        return "JSON lines"

    def _read_rows(self) -> Iterator[list[dict[str, Any]]]:
        lines = enumerate(storage.read_lines(self.path), 1)
        while block := list(islice(lines, _BATCH_ROWS)):
            yield [_parse(line, row) for row, line in block]


def _parse(line: str, row: int) -> dict[str, Any]:
    try:
        line.encode()
        content = json.loads(line)
    except UnicodeEncodeError:
        raise ValueError(f"row {row} is no UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"row {row} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"row {row} is no JSON object")
    return content


def _infer(name: str, rows: list[dict[str, Any]]) -> pa.DataType:
    try:
        return pa.array([row.get(name) for row in rows]).type
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise ValueError(f"column {name!r}: {error}") from error


def _unify(schema: pa.Schema, field: pa.Field) -> pa.Schema:
    try:
        return pa.unify_schemas([schema, pa.schema([field])], promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"column {field.name!r}: {error}") from error
