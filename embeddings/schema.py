"""The columns of a dataset: the one module that names them, and that says where values come from.

A column is a line of `COLUMNS`; schemas and writers follow from it. Whoever adds one raises
`FORMAT_VERSION`: chunks of a run that was begun without it must not end in a dataset with it.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beamvec.embeddings.layout import EMBEDDINGS_DIR, FAILURES_DIR, INPUTS_DIR

FORMAT_VERSION = 3
"""Version of all that a dataset and its chunk files hold.

1: without a version. 2: the same tables; `run.json` has one meaning a key.
3: checksums: in each chunk file, of each part in `run.json`, of `run.json` in `_SUCCESS`.
"""

FIRST_WITH_FILES = 2
"""The first format whose `run.json` tells of all parts."""

FIRST_WITH_CHECKSUMS = 3
"""The first format that has checksums."""

URI = "uri"
EMBEDDING = "embedding"
SHA256 = "sha256"
WIDTH = "width"
HEIGHT = "height"
FORMAT = "format"
SIZE_BYTES = "size_bytes"
MODIFIED_S = "modified_s"
STAGE = "stage"
ERROR_TYPE = "error_type"
MESSAGE = "message"

METADATA_KEY = b"beamvec"
"""Key of the Parquet file metadata that holds the model and settings as JSON."""

ROW_GROUP_ROWS = 1024
"""Rows in a row group: 8 MiB of embeddings at 2,048 numbers each, so that readers can stream."""

# The child is named `element` and the list is a plain one: the layout that every reader takes. It
# has no nulls, and says so: pyarrow then reads it 1.4 times as fast (benchmarks/reading.py).
_EMBEDDING_TYPE = pa.list_(pa.field("element", pa.float32(), nullable=False))


@dataclass(frozen=True)
class Column:
    """A column of a dataset.

    Attributes:
        name: its name, in every table that has it.
        type: its type.
        tables: which have it: `embeddings`, `failures`, `_inputs`.
        value: where its value comes from: an attribute, maybe of an attribute, of the record of an
            embedded image or of a failure, such as `ref.uri`, or a function of that record. None
            for the embedding, which comes from the model.
        nullable_in: those of them where it may be null.
    """

    name: str
    type: pa.DataType
    tables: tuple[str, ...]
    value: str | Callable[[Any], Any] | None
    nullable_in: tuple[str, ...] = ()

    @property
    def field(self) -> pa.Field:
        """Its name and type for a schema."""
        return pa.field(self.name, self.type)

    def read(self, records: Iterable[Any]) -> list[Any]:
        """Return the column's value of each record."""
        assert self.value is not None
        get = operator.attrgetter(self.value) if isinstance(self.value, str) else self.value
        return [get(record) for record in records]


_IMAGES = (EMBEDDINGS_DIR,)
_FAILED = (FAILURES_DIR,)
_ALL = (EMBEDDINGS_DIR, FAILURES_DIR, INPUTS_DIR)

COLUMNS = (
    Column(URI, pa.string(), _ALL, "ref.uri"),
    Column(EMBEDDING, _EMBEDDING_TYPE, _IMAGES, None),
    Column(SHA256, pa.string(), _IMAGES, "sha256"),
    Column(WIDTH, pa.int32(), _IMAGES, "width"),
    Column(HEIGHT, pa.int32(), _IMAGES, "height"),
    Column(FORMAT, pa.string(), _IMAGES, "format"),
    Column(STAGE, pa.string(), _FAILED, "stage"),
    Column(ERROR_TYPE, pa.string(), _FAILED, "error_type"),
    Column(MESSAGE, pa.string(), _FAILED, "message"),
    Column(SIZE_BYTES, pa.int64(), _ALL, "size_bytes", nullable_in=(FAILURES_DIR, INPUTS_DIR)),
    Column(MODIFIED_S, pa.float64(), (INPUTS_DIR,), "ref.modified_s", nullable_in=(INPUTS_DIR,)),
)
"""Every column but the user's own, in the order of the tables."""

RESERVED_NAMES = frozenset(column.name for column in COLUMNS)
"""Column names that a manifest cannot use for columns of its own."""


def columns_of(*tables: str) -> list[Column]:
    """Return the columns that some tables have.

    >>> [column.name for column in columns_of("_inputs")]
    ['uri', 'size_bytes', 'modified_s']
    """
    return [column for column in COLUMNS if set(tables) & set(column.tables)]


def table_schema(table: str, extra: Iterable[pa.Field] = ()) -> pa.Schema:
    """Return the schema of a table's files.

    Args:
        table: `embeddings`, `failures` or `_inputs`.
        extra: the user's own columns, which come last.

    >>> table_schema("embeddings").names
    ['uri', 'embedding', 'sha256', 'width', 'height', 'format', 'size_bytes']
    >>> table_schema("failures", [pa.field("label", pa.string())]).names
    ['uri', 'stage', 'error_type', 'message', 'size_bytes', 'label']
    """
    return pa.schema([*(column.field for column in columns_of(table)), *extra])


def chunk_schema(extra: Iterable[pa.Field] = ()) -> pa.Schema:
    """Return the schema of a chunk file: a row an image, a failure where `stage` is not null."""
    return pa.schema([*(column.field for column in COLUMNS), *extra])


def with_metadata(schema: pa.Schema, metadata: Mapping[str, Any]) -> pa.Schema:
    """Add the model and settings to a schema, as JSON with sorted keys."""
    return schema.with_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()})


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Return the `pyarrow.parquet.ParquetWriter` options of dataset files.

    lz4 with byte-stream-split takes 0.84 of the raw size of ResNet features, zstd 0.79, plain
    values cannot be compressed at all; it reads at 0.9 of the speed of uncompressed files, zstd at
    0.55 (`benchmarks/parquet_codec.py`). Dictionaries would make reading slower and save nothing
    on float32 values; they stay on for the other columns. The checksums of pages are what
    `beamvec inspect --verify` checks; other readers ignore them.
    """
    others = [field.name for field in schema if field.name != EMBEDDING]
    has_embedding = EMBEDDING in schema.names
    return {
        "compression": "lz4",
        "use_dictionary": others,
        "column_encoding": {f"{EMBEDDING}.list.element": "BYTE_STREAM_SPLIT"}
        if has_embedding
        else None,
        "write_statistics": others,
        "write_page_checksum": True,
    }
