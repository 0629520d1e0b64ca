"""The Parquet files of a dataset: where they are, their row groups, their vectors."""

from __future__ import annotations

import functools
import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from beamvec.embeddings import layout, schema
from beamvec.embeddings.damage import naming_damage, require_room
from beamvec.embeddings.threads import map_in_order
from beamvec.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow.compute as pc
    import pyarrow.dataset as ds


@dataclass(frozen=True)
class Part:
    """One Parquet file.

    Attributes:
        path: its path on the filesystem.
        filesystem: where it is.
        size_bytes: its size.
        fingerprint: of the model that its dataset was made with.
        table: which of the dataset's tables it is of.
        dimension: D of the dataset.
    """

    path: str
    filesystem: fs.FileSystem
    size_bytes: int
    fingerprint: str
    table: str
    dimension: int

    @property
    def is_local(self) -> bool:
        """Whether it can be mapped into memory, and latency is none."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the whole file.

        Raises:
            DatasetError: if it is damaged or missing.
        """
        names = None if columns is None else self._require_columns(columns)
        with naming_damage(self.path):
            if self.is_local:
                return self._check(self._open().read(names))
            return self._check(self._fragment.to_table(columns=names))

    def read_schema(self) -> pa.Schema:
        """Read the names and types of the file's columns."""
        with naming_damage(self.path):
            return self._schema

    def read_footer(self) -> pq.FileMetaData:
        """Read the file's own metadata, once, and check that it belongs to the dataset.

        Raises:
            DatasetError: if it is damaged, or of another model.
        """
        with naming_damage(self.path):
            footer = self._footer
        try:
            made_by = str(json.loads(footer.metadata[schema.METADATA_KEY])["fingerprint"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise DatasetError(f"{self.path} was not written by beamvec; move it away") from error
        if made_by != self.fingerprint:
            raise DatasetError(
                f"{self.path} was made with another model than its dataset ({made_by[:12]}, not "
                f"{self.fingerprint[:12]}); move it away"
            )
        return footer

    def read_row_group(self, index: int, columns: Sequence[str], verify: bool) -> pa.Table:
        """Read some columns of a row group, with a look at their pages' checksums if asked to.

        Raises:
            DatasetError: if it is damaged.
        """
        names = self._require_columns(columns)
        with naming_damage(self.path):
            if self.is_local:
                table = self._open(verify).read_row_group(index, names, use_threads=False)
            else:
                table = self._read_remote(index, names, verify)
            return self._check(table, index)

    def find_rows(self, where: pc.Expression) -> npt.NDArray[np.int64]:
        """Return the numbers of the file's rows for which a condition is true, int64 [n].

        Raises:
            DatasetError: if it is damaged, or the condition cannot be computed.
        """
        import pyarrow.compute as pc

        # A condition does not tell which columns it is on, but whoever scans a file with it reads
        # those alone.
        with naming_damage(self.path):
            table = self._check(self._fragment.to_table(columns={"is_wanted": where}))
        # Nulls are no matches. Not to_numpy: see `RowGroup.copy_vectors`.
        rows = np.from_dlpack(pc.indices_nonzero(table["is_wanted"]))
        return rows.astype(np.int64)

    def _require_columns(self, columns: Sequence[str]) -> list[str]:
        """Return names of columns, each once, that this file has, beamvec's own with their types.

        That of embeddings has changed, see `RowGroup.copy_vectors`.
        """
        found = self.read_schema()
        names = list(dict.fromkeys(columns))
        missing = set(names).difference(found.names)
        if missing:
            raise DatasetError(f"{self.path} is damaged: it has no column {min(missing)}")
        for own in schema.columns_of(self.table):
            if own.name in names and own.name != schema.EMBEDDING:
                kind = found.field(own.name).type
                if kind != own.type:
                    raise DatasetError(
                        f"{self.path} is damaged: its column {own.name} is {kind}, not {own.type}"
                    )
        return names

    @functools.cached_property
    def _schema(self) -> pa.Schema:
        return self._footer.schema.to_arrow_schema()

    @functools.cached_property
    def _footer(self) -> pq.FileMetaData:
        found = pq.read_metadata(self.path) if self.is_local else self._fragment.metadata
        rows = [found.row_group(index).num_rows for index in range(found.num_row_groups)]
        row_bytes = 4 * (self.dimension if self.table == layout.EMBEDDINGS_DIR else 1)
        require_room(self.path, rows, row_bytes, self.size_bytes)
        return found

    def _open(self, verify: bool = False) -> pq.ParquetFile:
        return pq.ParquetFile(
            self.path, metadata=self._footer, memory_map=True, page_checksum_verification=verify
        )

    @functools.cached_property
    def _fragment(self) -> ds.ParquetFileFragment:
        # With pyarrow 25, a ParquetFile opens a remote file with the interpreter locked, so one at
        # a time. Locally it is a tenth faster, and pyarrow.dataset imports pandas if it can.
        import pyarrow.dataset as ds

        return ds.ParquetFileFormat().make_fragment(self.path, self.filesystem)

    def _read_remote(self, index: int, columns: list[str], verify: bool) -> pa.Table:
        import pyarrow.dataset as ds

        options = ds.ParquetFragmentScanOptions(page_checksum_verification=verify)
        group = self._fragment.subset(row_group_ids=[index])
        return group.to_table(columns=columns, use_threads=False, fragment_scan_options=options)

    def _check(self, table: pa.Table, index: int | None = None) -> pa.Table:
        """Return what was read of the file or of a row group, if it can be used without surprise.

        pyarrow leaves out what it does not find, and gives strings that are no UTF-8.
        """
        told = self._footer if index is None else self._footer.row_group(index)
        if table.num_rows != told.num_rows:
            raise DatasetError(
                f"{self.path} is damaged: {table.num_rows:,} rows were read, its footer tells of "
                f"{told.num_rows:,}"
            )
        table.validate(full=True)
        for own in schema.columns_of(self.table):
            is_needed = own.name in table.column_names and self.table not in own.nullable_in
            if is_needed and table[own.name].null_count:
                raise DatasetError(f"{self.path} is damaged: it has rows without {own.name}")
        return table


@dataclass(frozen=True)
class RowGroup:
    """A row group of an `embeddings` part, and its place among all rows of a dataset.

    Attributes:
        part: its file.
        index: its number in the file.
        start: the number of its first row in the dataset.
        stop: one more than that of its last row.
    """

    part: Part
    index: int
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """The place of its rows in the dataset."""
        return slice(self.start, self.stop)

    def read(self, columns: Sequence[str], verify: bool = False) -> pa.Table:
        """Read some columns, with a look at the checksums of their pages if asked to."""
        return self.part.read_row_group(self.index, columns, verify)

    def read_vectors(self, out: npt.NDArray[np.float32]) -> None:
        """Read the embeddings into `out`, float32 [rows, D]."""
        self.copy_vectors(self.read([schema.EMBEDDING]), out)

    def copy_vectors(self, table: pa.Table, out: npt.NDArray[np.float32]) -> None:
        """Copy the embeddings of what was read into `out`, float32 [rows, D].

        Raises:
            DatasetError: if a row is null or has another length than D.
        """
        column = table[schema.EMBEDDING]
        if not (pa.types.is_list(column.type) and pa.types.is_float32(column.type.value_type)):
            raise DatasetError(
                f"{self.part.path} is damaged: its embeddings are {column.type}, no lists of float"
            )
        dimension = out.shape[1]
        row = 0
        for chunk in column.chunks:
            values = chunk.flatten()
            # Not to_numpy: it imports pandas where that is installed, which takes a second.
            lengths = np.diff(np.from_dlpack(chunk.offsets))
            if chunk.null_count or values.null_count or (lengths != dimension).any():
                raise DatasetError(
                    f"{self.part.path}: row group {self.index} has rows that are no {dimension} "
                    "numbers; the dataset is damaged"
                )
            out[row : row + len(chunk)] = np.from_dlpack(values).reshape(-1, dimension)
            row += len(chunk)

    def read_uris(self) -> list[str]:
        """Read the uri of each row."""
        return to_texts(self.read([schema.URI])[schema.URI], self.part.path)

    def may_hold(self, uris: Sequence[str]) -> bool:
        """Tell whether one of some uris, sorted, may be here, by the uri column's statistics."""
        footer = self.part.read_footer()
        try:
            with naming_damage(self.part.path):
                names = [footer.schema.column(i).path for i in range(footer.num_columns)]
                column = footer.row_group(self.index).column(names.index(schema.URI))
                statistics = column.statistics
                if statistics is None or not statistics.has_min_max:
                    return True
                low, high = statistics.min, statistics.max
                first = bisect_left(uris, low)
                return first < len(uris) and uris[first] <= high
        except DatasetError:
            return True  # Reading it will say what is wrong.


def to_texts(column: pa.ChunkedArray, where: str) -> list[str]:
    """Return the strings of a column of uris.

    Raises:
        DatasetError: if it has something else; the message begins with `where`.
    """
    if not pa.types.is_string(column.type) or column.null_count:
        raise DatasetError(f"{where} is damaged: a uri is missing or no string")
    texts: list[str] = column.to_pylist()
    return texts


def list_row_groups(parts: Sequence[Part]) -> list[RowGroup]:
    """List the row groups of some parts in order, reading their footers in parallel.

    Raises:
        DatasetError: if a file is damaged or does not belong.
    """
    groups: list[RowGroup] = []
    start = 0
    for part, footer in zip(parts, map_in_order(Part.read_footer, parts, parts), strict=True):
        for index in range(footer.num_row_groups):
            stop = start + footer.row_group(index).num_rows
            groups.append(RowGroup(part, index, start, stop))
            start = stop
    return groups
