"""The columns, types and file layout of a dataset: the one module that names them.

A dataset is a folder::

    embeddings/part-00000-of-00012.parquet   one row an embedded image
    failures/part-00000-of-00012.parquet     one row an image that could not be embedded
    _inputs/part-00000-of-00012.parquet      size and time of each embedded image, for --append
    run.json                                 settings, model, versions, counts, timings
    _SUCCESS                                 written last
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

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

EMBEDDINGS_DIR = "embeddings"
FAILURES_DIR = "failures"
INPUTS_DIR = "_inputs"
RUN_FILE = "run.json"
SUCCESS_FILE = "_SUCCESS"

METADATA_KEY = b"beamvec"
"""Key of the Parquet file metadata that holds the model and settings as JSON."""

ROW_GROUP_ROWS = 1024
"""Rows in a row group: 8 MiB of embeddings at 2,048 numbers each, so that readers can stream."""

# The child is named `element` and the list is a plain one: the layout that every reader takes. It
# has no nulls, and says so: pyarrow then reads it 1.4 times as fast (benchmarks/reading.py).
_EMBEDDING_TYPE = pa.list_(pa.field("element", pa.float32(), nullable=False))

_IMAGE_FIELDS = (
    pa.field(URI, pa.string()),
    pa.field(EMBEDDING, _EMBEDDING_TYPE),
    pa.field(SHA256, pa.string()),
    pa.field(WIDTH, pa.int32()),
    pa.field(HEIGHT, pa.int32()),
    pa.field(FORMAT, pa.string()),
    pa.field(SIZE_BYTES, pa.int64()),
)
_ERROR_FIELDS = (
    pa.field(STAGE, pa.string()),
    pa.field(ERROR_TYPE, pa.string()),
    pa.field(MESSAGE, pa.string()),
)

_MODIFIED_FIELD = pa.field(MODIFIED_S, pa.float64())

RESERVED_NAMES = frozenset(
    field.name for field in (*_IMAGE_FIELDS, *_ERROR_FIELDS, _MODIFIED_FIELD)
)
"""Column names that a manifest cannot use for columns of its own."""


def embeddings_schema(extra: Iterable[pa.Field] = ()) -> pa.Schema:
    """Return the schema of the `embeddings` files.

    Args:
        extra: the manifest's own columns, which come last.

    >>> embeddings_schema().names
    ['uri', 'embedding', 'sha256', 'width', 'height', 'format', 'size_bytes']
    """
    return pa.schema([*_IMAGE_FIELDS, *extra])


def failures_schema(extra: Iterable[pa.Field] = ()) -> pa.Schema:
    """Return the schema of the `failures` files.

    >>> failures_schema([pa.field("label", pa.string())]).names
    ['uri', 'stage', 'error_type', 'message', 'size_bytes', 'label']
    """
    by_name = {field.name: field for field in _IMAGE_FIELDS}
    return pa.schema([by_name[URI], *_ERROR_FIELDS, by_name[SIZE_BYTES], *extra])


def chunk_schema(extra: Iterable[pa.Field] = ()) -> pa.Schema:
    """Return the schema of a chunk file: a row an image, a failure where `stage` is not null."""
    return pa.schema([*_IMAGE_FIELDS, *_ERROR_FIELDS, _MODIFIED_FIELD, *extra])


def inputs_schema() -> pa.Schema:
    """Return the schema of the `_inputs` files: what listing told of each embedded image."""
    by_name = {field.name: field for field in _IMAGE_FIELDS}
    return pa.schema([by_name[URI], by_name[SIZE_BYTES], _MODIFIED_FIELD])


def part_name(index: int, count: int, generation: int = 0) -> str:
    """Name part `index` of `count`; parts of the n-th append have generation n.

    >>> part_name(3, 12), part_name(0, 1, 2)
    ('part-00003-of-00012.parquet', 'part-a0002-00000-of-00001.parquet')
    """
    appended = f"a{generation:04d}-" if generation else ""
    return f"part-{appended}{index:05d}-of-{count:05d}.parquet"


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
