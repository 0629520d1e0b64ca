"""The columns of a dataset, pinned: whoever changes one raises the format's version."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beamvec.embeddings import schema
from beamvec.embeddings.layout import TABLE_DIRS
from beamvec.transforms.records.images import Failure, ImageInfo, ImageRef

PINNED = {
    2: {
        "embeddings": {
            "uri": "string",
            "embedding": "list<element: float not null>",
            "sha256": "string",
            "width": "int32",
            "height": "int32",
            "format": "string",
            "size_bytes": "int64",
        },
        "failures": {
            "uri": "string",
            "stage": "string",
            "error_type": "string",
            "message": "string",
            "size_bytes": "int64",
        },
        "_inputs": {"uri": "string", "size_bytes": "int64", "modified_s": "double"},
    }
}
PINNED[3] = PINNED[2]
"""Tables, columns in their order, and types, by version of the format."""

RAISE = (
    "the tables are not those of FORMAT_VERSION; raise it in embeddings/schema.py, say there what "
    "is new, and add the new tables to PINNED: chunks of runs that were begun before must not end "
    "in a dataset with other columns"
)


def describe(columns: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in columns}


def test_a_change_of_the_tables_raises_the_version():
    found = {table: describe(schema.table_schema(table)) for table in TABLE_DIRS}
    pinned = PINNED.get(schema.FORMAT_VERSION, {})
    assert {table: list(found[table].items()) for table in found} == {
        table: list(columns.items()) for table, columns in pinned.items()
    }, RAISE


def test_a_chunk_file_has_every_column_once():
    names = schema.chunk_schema().names
    assert len(names) == len(set(names))
    assert set(names) == schema.RESERVED_NAMES
    assert set(names) == {name for table in TABLE_DIRS for name in schema.table_schema(table).names}


@pytest.mark.parametrize("table", TABLE_DIRS)
def test_the_users_own_columns_come_last(table):
    own = [pa.field("label", pa.string()), pa.field("score", pa.float64())]
    whole = schema.table_schema(table, own)
    assert whole.names == [*schema.table_schema(table).names, "label", "score"]


def test_every_value_is_found_in_its_record():
    ref = ImageRef("a.jpg", 7, 1.5)
    image = ImageInfo(ref, "00", 4, 3, "PNG", 8)
    values = {
        column.name: column.read([image])
        for column in schema.columns_of("embeddings", "_inputs")
        if column.value
    }
    assert values == {
        **{"uri": ["a.jpg"], "sha256": ["00"], "width": [4], "height": [3], "format": ["PNG"]},
        **{"size_bytes": [8], "modified_s": [1.5]},
    }
    failure = Failure(ref, "read", "OSError", "gone", None)
    columns = schema.columns_of("failures")
    assert [column.read([failure]) for column in columns] == [
        *(["a.jpg"], ["read"], ["OSError"], ["gone"], [None])
    ]


def test_metadata_is_the_same_bytes_in_any_order():
    plain = schema.table_schema("embeddings")
    one = schema.with_metadata(plain, {"a": 1, "b": 2})
    other = schema.with_metadata(plain, {"b": 2, "a": 1})
    assert one.metadata == other.metadata == {schema.METADATA_KEY: b'{"a": 1, "b": 2}'}


def test_only_the_embedding_is_split_into_bytes():
    options = schema.parquet_options(schema.table_schema("embeddings"))
    assert options["column_encoding"] == {"embedding.list.element": "BYTE_STREAM_SPLIT"}
    assert "embedding" not in options["use_dictionary"]
    assert schema.parquet_options(schema.table_schema("failures"))["column_encoding"] is None
