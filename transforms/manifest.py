"""Manifests: CSV or Parquet files with a row an image, whose other columns ride along."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from embeddings import schema
from transforms import storage
from transforms.records import ImageRef

NO_COLUMNS = pa.schema([])


class ManifestError(ValueError):
    """A manifest cannot be used; the message names the column or row and what to do."""


def read_columns(path: str, uri_column: str) -> pa.Schema:
    """Check a manifest and return the schema of its own columns, without the URI's.

    A CSV file is read once in full: its column types are inferred from all of its rows.

    Raises:
        ManifestError: if the file cannot be read, has no rows, lacks the URI column, has a row
            without a URI, or has a column that collides with one of the output.
    """
    try:
        full = _csv_schema(path, uri_column) if _is_csv(path) else _parquet_schema(path)
        _check_names(path, full, uri_column)
        _check_uris(path, uri_column, full)
    except (*storage.READ_ERRORS, pa.ArrowException) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(f"cannot read --manifest {path}: {error}") from error
    own = [_plain(field) for field in full if field.name != uri_column]
    return pa.schema(own)


def read_manifest(path: str, uri_column: str, columns: pa.Schema) -> Iterator[ImageRef]:
    """Yield a ref a row, in file order, with the values of `columns` as Python objects."""
    names = [uri_column, *columns.names]
    for batch in _batches(path, names, pa.schema([pa.field(uri_column, pa.string()), *columns])):
        uris = batch.column(uri_column).cast(pa.string()).to_pylist()
        values = [to_python(batch.column(field.name).cast(field.type)) for field in columns]
        for uri, *row in zip(uris, *values, strict=True):
            yield ImageRef(uri, columns=tuple(row))


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


def _is_csv(path: str) -> bool:
    name = path.lower()
    if name.endswith((".csv", ".csv.gz")):
        return True
    if name.endswith((".parquet", ".pq")):
        return False
    raise ManifestError(f"--manifest {path}: the name must end in .csv, .csv.gz or .parquet")


def _convert_options(types: pa.Schema | dict[str, pa.DataType]) -> pa_csv.ConvertOptions:
    return pa_csv.ConvertOptions(column_types=types)


def _csv_schema(path: str, uri_column: str) -> pa.Schema:
    with storage.open_file(path) as file:
        options = _convert_options({uri_column: pa.string()})
        return pa_csv.read_csv(file, convert_options=options).schema


def _parquet_schema(path: str) -> pa.Schema:
    with storage.open_file(path) as file:
        return pq.ParquetFile(file).schema_arrow


def _batches(path: str, names: list[str], types: pa.Schema) -> Iterator[pa.RecordBatch]:
    with storage.open_file(path) as file:
        if _is_csv(path):
            yield from pa_csv.open_csv(file, convert_options=_convert_options(types))
        else:
            yield from pq.ParquetFile(file).iter_batches(columns=names)


def _check_names(path: str, full: pa.Schema, uri_column: str) -> None:
    if uri_column not in full.names:
        raise ManifestError(
            f"--manifest {path} has no column {uri_column!r}; name the column that holds the "
            f"image paths with --uri-column (its columns: {', '.join(full.names)})"
        )
    if not _is_text(full.field(uri_column).type):
        raise ManifestError(
            f"--manifest {path}: column {uri_column!r} holds {full.field(uri_column).type}, not "
            "text; name the column that holds the image paths with --uri-column"
        )
    own = [name for name in full.names if name != uri_column]
    for name in own:
        if name in schema.RESERVED_NAMES:
            raise ManifestError(
                f"--manifest {path}: column {name!r} is also a column of the output; rename it"
            )
        if own.count(name) > 1:
            raise ManifestError(f"--manifest {path}: column {name!r} comes twice; rename one")


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _check_uris(path: str, uri_column: str, full: pa.Schema) -> None:
    row = 0
    for batch in _batches(path, [uri_column], full):
        uris = batch.column(uri_column).cast(pa.string())
        missing = pc.fill_null(pc.equal(uris, ""), True)
        if pc.any(missing).as_py():
            row += missing.index(True).as_py() + 1
            raise ManifestError(f"--manifest {path}: row {row} has no {uri_column!r}")
        row += len(batch)
    if row == 0:
        raise ManifestError(f"--manifest {path} has no rows")


def _plain(field: pa.Field) -> pa.Field:
    """Drop dictionary encoding: it is a matter of storage, and of the writer of each file."""
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, type_)
