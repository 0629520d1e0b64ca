"""Manifests: tables with a row an image, whose other columns ride along."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from beamvec.embeddings import schema
from beamvec.errors import InputError
from beamvec.transforms.files import storage
from beamvec.transforms.files.readers import path_of
from beamvec.transforms.files.urls import UrlReader
from beamvec.transforms.inputs.csv_table import UTF_8
from beamvec.transforms.inputs.ids import check_ids
from beamvec.transforms.inputs.list_file import ListFile
from beamvec.transforms.inputs.look_up import locate, look_up
from beamvec.transforms.inputs.same_images import Conflict, find_conflict, hash_uris
from beamvec.transforms.inputs.source import Option
from beamvec.transforms.inputs.tables import Table, open_table
from beamvec.transforms.inputs.url_source import URL_OPTIONS
from beamvec.transforms.records import own_columns
from beamvec.transforms.records.images import ImageRef
from beamvec.transforms.records.own_columns import NO_COLUMNS

_URI = "uri"
_FILE_NAME = "file_name"
"""What the column is called in the metadata of an image folder, as Hugging Face has it."""

_IN_FOLDERS = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

_LOOKED_AT = 20
"""Rows whose images are looked for when the manifest is checked."""

_SHOWN = 200
"""Characters of values that an error shows."""


@dataclass(frozen=True)
class Manifest(ListFile):
    """A table with a row an image, whose other columns ride along.

    URIs stay as they are written, so that they join with the user's own tables.

    Attributes:
        uri_column: the column that holds the URIs; unless another is named, `file_name` will do.
        id_column: the column that names the images in the output, where they may be found at
            another URI tomorrow; empty for that of the URIs.
        csv_encoding: of the text, if it is CSV.
        manifest_columns: names of those that ride along, with commas between; empty for all but
            binary and nested ones.
        base_folder: where relative paths count from; empty for the manifest's own folder.
        left_out: those that do not ride along because nobody asked for them; known after `check`.
    """

    uri_column: str = _URI
    id_column: str = ""
    csv_encoding: str = UTF_8
    manifest_columns: str = ""
    base_folder: str = ""
    left_out: tuple[str, ...] = ()

    kind = "manifest"
    metavar = "FILE"
    help = "a .csv, .tsv, .jsonl or .parquet whose other columns ride along"
    options = (
        Option(
            "uri_column", "NAME", "the manifest's column of URIs (uri, or file_name)", finds=True
        ),
        Option(
            "id_column",
            "NAME",
            "the manifest's column that names the images in the output, for URIs that change",
            finds=True,
        ),
        Option("csv_encoding", "NAME", "what a manifest of CSV is written in (utf-8)", finds=True),
        Option(
            "manifest_columns",
            "NAMES",
            "the manifest's columns that ride along, such as label,split (all but binary and "
            "nested ones)",
        ),
        Option("base_folder", "DIR", "where its relative paths count from (its own folder)"),
        *URL_OPTIONS,
    )

    @property
    def path(self) -> str:
        """Where the manifest is: of a folder of images, the metadata in it."""
        path = super().path
        found = (os.path.join(path, name) for name in _IN_FOLDERS) if os.path.isdir(path) else ()
        return next(filter(os.path.isfile, found), path)

    @property
    def folder(self) -> str:
        """Where relative paths count from; of a pipe, the working folder."""
        own = "." if self.kept else os.path.dirname(self.path) or "."
        folder = path_of(self.base_folder or own)
        return os.path.abspath(os.path.expanduser(folder)) if storage.is_local(folder) else folder

    def check(self) -> Manifest:
        """Return the manifest with all that a run needs to know of it; a pipe is read here.

        A CSV file is read in full: the types of its columns follow from all of its rows.

        Raises:
            InputError: if the file cannot be read, has no rows, lacks the URI column, has a row
                without a URI, a column that collides with one of the output, or rows that differ
                for the same image.
        """
        checked = super().check()
        # Of this process's working folder: workers may have others.
        checked = replace(checked, base_folder=checked.folder)
        try:
            full = checked._table().find_schema()
            return checked._choose_columns(full)._check_rows()
        except InputError:
            raise
        except UnicodeError as error:
            what = f"it is not written in {self.csv_encoding}: {error}; see `csv_encoding`"
            raise self._refuse(what) from error
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot read `manifest={self.names[0]}`: {error}") from error
        except ValueError as error:
            raise self._refuse(str(error)) from error

    def find_columns(self) -> pa.Schema:
        """Return none: `check` looks."""
        return NO_COLUMNS

    def list_images(self) -> Iterator[ImageRef]:
        """Yield a ref a row, in file order."""
        folder = self.folder
        for ref in self.read_rows():
            if ref.place is None:
                yield look_up(ref.uri, ref.columns, folder)
            else:
                found = look_up(ref.place, ref.columns, folder)
                yield found._replace(uri=ref.uri, place=found.place or found.uri)

    def find_again(self, ref: ImageRef) -> ImageRef:
        """Return the ref of an earlier failure, where this manifest would have it."""
        return ref if self.id_column else look_up(ref.uri, ref.columns, self.folder)

    def find_images(self, uris: Sequence[str]) -> list[ImageRef]:
        """Return refs of images of a dataset; with ids, all rows are read for that."""
        if not self.id_column:
            return super().find_images(uris)
        wanted = set(uris)
        found = {ref.uri: ref for ref in self.list_images() if ref.uri in wanted}
        return [found.get(uri, ImageRef(uri)) for uri in uris]

    @property
    def finds_by_names(self) -> bool:
        """Whether images are named by ids, which the table tells the places of."""
        return bool(self.id_column)

    @property
    def reader(self) -> UrlReader:
        """What reads the images that are listed."""
        return UrlReader(self.url_settings, needs_place=bool(self.id_column))

    def read_rows(self) -> Iterator[ImageRef]:
        """Yield a ref a row, in file order, with its uri as written and the values of `columns`.

        With ids, these are the uris, and the URIs are the places.
        """
        keys = [name for name in (self.id_column, self.uri_column) if name]
        fields = [pa.field(name, pa.string()) for name in keys]
        for batch in self._table().read(pa.schema([*fields, *self.columns])):
            names, places = batch.column(0).to_pylist(), batch.column(len(keys) - 1).to_pylist()
            places = places if self.id_column else [None] * len(names)
            values = [own_columns.to_python(column) for column in batch.columns[len(keys) :]]
            for name, place, *row in zip(names, places, *values, strict=True):
                yield ImageRef(name, columns=tuple(row), place=place)

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever starts the run should know."""
        if not self.left_out:
            return ()
        names = ", ".join(self.left_out)
        return (f"columns that do not ride along unless manifest_columns names them: {names}",)

    def _table(self) -> Table:
        try:
            codecs.lookup(self.csv_encoding)
        except LookupError:
            raise InputError(f"`csv_encoding={self.csv_encoding}`: no such encoding") from None
        wanted = (self.uri_column, *((_FILE_NAME,) if self.uri_column == _URI else ()))
        return open_table(self.path, wanted, self.csv_encoding)

    def _choose_columns(self, full: pa.Schema) -> Manifest:
        """Return the manifest with the columns that ride along, if they can."""
        uri = self._find_uri_column(full)
        if self.manifest_columns:
            own = [name.strip() for name in self.manifest_columns.split(",")]
            left_out: list[str] = []
            for name in set(own) - set(full.names):
                raise self._refuse(f"it has no column {name!r}; {self._list(full.names)}")
        else:
            others = [field for field in full if field.name not in (uri, self.id_column)]
            own = [field.name for field in others if _is_plain(field.type)]
            left_out = [
                f"{field.name} ({field.type})" for field in others if not _is_plain(field.type)
            ]
        if self.id_column:
            self._check_id_column(full, uri)
        self._check_names(full.names, [uri, *own])
        columns = pa.schema([full.field(name) for name in own])
        return replace(self, uri_column=uri, columns=columns, left_out=tuple(left_out))

    def _find_uri_column(self, full: pa.Schema) -> str:
        name = self.uri_column
        if name == _URI and name not in full.names and _FILE_NAME in full.names:
            name = _FILE_NAME
        advice = "name the column that holds the image paths with `uri_column`"
        if name not in full.names:
            raise self._refuse(f"it has no column {name!r}; {advice} ({self._list(full.names)})")
        if full.names.count(name) == 1 and not _is_text(full.field(name).type):
            raise self._refuse(f"column {name!r} holds {full.field(name).type}, not text; {advice}")
        return name

    def _check_id_column(self, full: pa.Schema, uri: str) -> None:
        name = self.id_column
        if name == uri:
            raise InputError(f"`id_column` and `uri_column` both name {name!r}; leave one out")
        if full.names.count(name) != 1:
            found = "several columns" if name in full.names else "no column"
            raise self._refuse(f"it has {found} {name!r} ({self._list(full.names)})")
        type_ = full.field(name).type
        if not (_is_text(type_) or pa.types.is_integer(type_)):
            raise self._refuse(
                f"column {name!r} holds {type_}, not text or whole numbers, so that it names no "
                "images"
            )

    def _check_names(self, names: Sequence[str], used: Sequence[str]) -> None:
        for name in used:
            if name in schema.RESERVED_NAMES and name != used[0]:
                raise self._refuse(f"column {name!r} is also a column of the output; rename it")
            if names.count(name) > 1 or used.count(name) > 1:
                raise self._refuse(f"column {name!r} comes twice; rename one")

    def _check_rows(self) -> Manifest:
        row, hashes = 0, []
        for batch in self._table().read(pa.schema([pa.field(self.uri_column, pa.string())])):
            uris = batch.column(0)
            missing = pc.fill_null(pc.equal(uris, ""), True)
            if pc.any(missing).as_py():
                at = row + missing.index(True).as_py() + 1
                raise self._refuse(f"row {at} has no {self.uri_column!r}")
            names = uris.to_pylist()
            if row == 0:
                self._check_places(names[:_LOOKED_AT])
            row += len(batch)
            hashes.append(hash_uris(names))
        if row == 0 and not self.allow_empty:
            raise self._refuse("it has no rows")
        if self.id_column:
            ids = pa.schema([pa.field(self.id_column, pa.string())])
            read = self._table().read
            check_ids(self.names[0], self.id_column, lambda: (b.column(0) for b in read(ids)))
            return self
        conflict = find_conflict(hashes, self.read_rows) if self.columns.names else None
        if conflict:
            raise self._refuse(self._explain(conflict))
        return self

    def _check_places(self, uris: Sequence[str]) -> None:
        """Refuse relative paths that count from the working folder, as they did once."""
        places = {uri: locate(uri, self.folder) for uri in uris}
        moved = {uri: place for uri, place in places.items() if place != locate(uri)}
        here = [uri for uri in moved if os.path.lexists(locate(uri))]
        if here and not any(map(storage.exists, moved.values())):
            raise self._refuse(
                f"there is no {moved[here[0]]}; relative paths count from the manifest's folder, "
                f"and {here[0]!r} is in the working folder: say so with `base_folder=.`"
            )

    def _explain(self, conflict: Conflict) -> str:
        differ = [
            f"{name} is {then!r} and {now!r}"
            for name, then, now in zip(self.columns.names, *conflict.values, strict=True)
            if repr(then) != repr(now)
        ]
        return (
            f"rows {conflict.rows[0]} and {conflict.rows[1]} both name {conflict.uri!r}, and "
            f"differ: {'; '.join(differ)[:_SHOWN]}; keep one row an image, or leave columns out "
            "with `manifest_columns`"
        )

    def _list(self, names: Sequence[str]) -> str:
        return f"{self._table().describe_layout()}, its columns: {', '.join(names)}"

    def _refuse(self, what: str) -> InputError:
        return InputError(f"`manifest={self.names[0]}`: {what}")


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _is_plain(type_: pa.DataType) -> bool:
    """Tell whether values are small and have no inside: images in a column would go everywhere."""
    types = pa.types
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return _is_plain(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType):
        return _is_plain(type_.storage_type)
    is_binary = types.is_binary(type_) or types.is_large_binary(type_)
    is_binary = is_binary or types.is_fixed_size_binary(type_) or types.is_binary_view(type_)
    return not (is_binary or types.is_nested(type_))
