"""Manifests of a JSON object a line."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from beamvec.transforms.inputs.json_table import JsonTable


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return JsonTable(str(path))


def test_types_are_those_of_json(tmp_path):
    rows = [
        {"uri": "a.jpg", "zip": "007", "day": "2024-01-05", "n": 1, "x": 1, "ok": True, "t": ["a"]},
        {"uri": "b.jpg", "zip": "", "n": None, "x": 2.5, "more": "é"},
    ]
    table = write(tmp_path / "m.jsonl", rows)
    schema = table.find_schema()
    text = pa.string()
    types = [text, text, text, pa.int64(), pa.float64(), pa.bool_(), pa.list_(text), text]
    assert schema.types == types
    found = [row for batch in table.read(schema) for row in batch.to_pylist()]
    assert found == [{name: row.get(name) for name in schema.names} for row in rows]


def test_types_follow_from_all_rows(tmp_path):
    rows = [{"uri": f"{i}.jpg", "x": None if i < 10_500 else i} for i in range(21_000)]
    table = write(tmp_path / "m.jsonl", [*rows, {"uri": "last.jpg", "x": 0.5}])
    schema = table.find_schema()
    assert schema.field("x").type == pa.float64()
    assert sum(map(len, table.read(schema))) == 21_001


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"uri": "a"}\n\n[]\n', "row 2 is no JSON object"),
        (b'{"uri": "a"}\n{"uri": \n', "row 2 is no JSON: "),
        (b'{"uri": "a"}\n{"uri": "\xe9"}\n', "row 2 is no UTF-8"),
        (b'{"x": 1}\n{"x": "1"}\n', "column 'x': "),
        (b'{"x": 1}\n' * 10_000 + b'{"x": "1"}\n', "column 'x': "),
        (b'{"x": 123456789012345678901234567890}\n', "column 'x': "),
    ],
)
def test_mistakes_are_named(tmp_path, content, told):
    (tmp_path / "m.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=told):
        JsonTable(str(tmp_path / "m.jsonl")).find_schema()
