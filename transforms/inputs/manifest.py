"""Manifests: CSV or Parquet files with a row an image, whose other columns ride along."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from beamvec.embeddings import schema
from beamvec.errors import InputError
from beamvec.transforms.files import storage
from beamvec.transforms.files.urls import UrlReader
from beamvec.transforms.inputs.ids import check_ids
from beamvec.transforms.inputs.look_up import look_up
from beamvec.transforms.inputs.source import Option
from beamvec.transforms.inputs.url_source import URL_OPTIONS, UrlSource
from beamvec.transforms.records import own_columns
from beamvec.transforms.records.images import ImageRef


@dataclass(frozen=True)
class Manifest(UrlSource):
    """A CSV or Parquet file with a row an image, whose other columns ride along.

    URIs stay as they are written, so that they join with the user's own tables.

    Attributes:
        uri_column: the column that holds the URIs.
        id_column: the column that names the images in the output, where they may be found at
            another URI tomorrow; empty for that of the URIs.
    """

    uri_column: str = "uri"
    id_column: str = ""

    kind = "manifest"
    metavar = "FILE"
    help = "a .csv or .parquet whose other columns ride along"
    options = (
        Option("uri_column", "NAME", "the manifest's column of URIs (uri)"),
        Option(
            "id_column",
            "NAME",
            "the manifest's column that names the images in the output, for URIs that change",
        ),
        *URL_OPTIONS,
    )

    def find_columns(self) -> pa.Schema:
        """Look through the file, see `read_columns`."""
        return read_columns(self.names[0], self.uri_column, self.id_column)

    def list_images(self) -> Iterator[ImageRef]:
        """Yield a ref a row, in file order."""
        for path in self.names:
            for ref in read_manifest(path, self.uri_column, self.columns, self.id_column):
                found = look_up(ref.uri if ref.place is None else ref.place, ref.columns)
                yield found if ref.place is None else found._replace(uri=ref.uri, place=ref.place)

    @property
    def reader(self) -> UrlReader:
        """What reads the images that are listed."""
        return UrlReader(self.url_settings, needs_place=bool(self.id_column))


def read_columns(path: str, uri_column: str, id_column: str = "") -> pa.Schema:
    """Check a manifest and return the schema of its own columns, without those of URIs and ids.

    A CSV file is read once in full: its column types are inferred from all of its rows.

    Raises:
        InputError: if the file cannot be read, has no rows, lacks the URI column, has a row
            without a URI, has a column that collides with one of the output, or has ids that do
            not name one image each.
    """
    try:
        keys = [name for name in (uri_column, id_column) if name]
        full = _csv_schema(path, keys) if _is_csv(path) else _parquet_schema(path)
        _check_names(path, full, uri_column, id_column)
        _check_uris(path, uri_column, full)
        if id_column:
            batches = functools.partial(_batches, path, [id_column], full)
            check_ids(path, id_column, lambda: (batch.column(id_column) for batch in batches()))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read `manifest={path}`: {error}") from error
    own = [_plain(field) for field in full if field.name not in keys]
    return pa.schema(own)


def read_manifest(
    path: str, uri_column: str, columns: pa.Schema, id_column: str = ""
) -> Iterator[ImageRef]:
    """Yield a ref a row, in file order, with the values of `columns` as Python objects.

    With ids, these are the uris, and the URIs are the places.
    """
    keys = [name for name in (uri_column, id_column) if name]
    types = pa.schema([*(pa.field(name, pa.string()) for name in keys), *columns])
    for batch in _batches(path, types.names, types):
        uris, *ids = (batch.column(name).cast(pa.string()).to_pylist() for name in keys)
        values = [
            own_columns.to_python(batch.column(field.name).cast(field.type)) for field in columns
        ]
        places = uris if ids else [None] * len(uris)
        for uri, place, *row in zip(*(ids or [uris]), places, *values, strict=True):
            yield ImageRef(uri, columns=tuple(row), place=place)


def _is_csv(path: str) -> bool:
    name = path.lower()
    if name.endswith((".csv", ".csv.gz")):
        return True
    if name.endswith((".parquet", ".pq")):
        return False
    raise InputError(f"`manifest={path}`: the name must end in .csv, .csv.gz or .parquet")


def _convert_options(types: pa.Schema | dict[str, pa.DataType]) -> pa_csv.ConvertOptions:
    return pa_csv.ConvertOptions(column_types=types)


def _csv_schema(path: str, texts: list[str]) -> pa.Schema:
    with storage.open_file(path) as file:
        options = _convert_options(dict.fromkeys(texts, pa.string()))
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


def _check_names(path: str, full: pa.Schema, uri_column: str, id_column: str) -> None:
    if uri_column not in full.names:
        raise InputError(
            f"`manifest={path}` has no column {uri_column!r}; name the column that holds the "
            f"image paths with `uri_column` (its columns: {', '.join(full.names)})"
        )
    if not _is_text(full.field(uri_column).type):
        raise InputError(
            f"`manifest={path}`: column {uri_column!r} holds {full.field(uri_column).type}, not "
            "text; name the column that holds the image paths with `uri_column`"
        )
    if id_column:
        _check_id_column(path, full, uri_column, id_column)
    own = [name for name in full.names if name not in (uri_column, id_column)]
    for name in own:
        if name in schema.RESERVED_NAMES:
            raise InputError(
                f"`manifest={path}`: column {name!r} is also a column of the output; rename it"
            )
        if own.count(name) > 1:
            raise InputError(f"`manifest={path}`: column {name!r} comes twice; rename one")


def _check_id_column(path: str, full: pa.Schema, uri_column: str, id_column: str) -> None:
    if id_column == uri_column:
        raise InputError(f"`id_column` and `uri_column` both name {id_column!r}; leave one out")
    if full.names.count(id_column) != 1:
        found = "several columns" if id_column in full.names else "no column"
        known = ", ".join(full.names)
        raise InputError(f"`manifest={path}` has {found} {id_column!r} (its columns: {known})")
    type_ = full.field(id_column).type
    if not (_is_text(type_) or pa.types.is_integer(type_)):
        raise InputError(
            f"`manifest={path}`: column {id_column!r} holds {type_}, not text or whole numbers, so "
            "that it names no images"
        )


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
            raise InputError(f"`manifest={path}`: row {row} has no {uri_column!r}")
        row += len(batch)
    if row == 0:
        raise InputError(f"`manifest={path}` has no rows")


def _plain(field: pa.Field) -> pa.Field:
    """Drop dictionary encoding: it is a matter of storage, and of the writer of each file."""
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, type_)
