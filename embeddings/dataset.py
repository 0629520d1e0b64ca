"""Reading a dataset: vectors, metadata, batches and lookups, in parallel."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embeddings import schema
from embeddings.parts import DatasetError, Part, RowGroup, list_row_groups, map_in_order

_URI_ONLY = (schema.URI,)


class Batch(NamedTuple):
    """Some rows of a dataset.

    Attributes:
        metadata: those of their other columns that were asked for.
        vectors: their embeddings, float32 [n, D], in the same order.
    """

    metadata: pa.Table
    vectors: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Dataset:
    """A finished dataset, or several of the same model and settings one after the other.

    Rows have one order for all methods: the datasets as they were given, the parts of each by
    name, and within a part by uri. Methods raise `DatasetError` for files that are damaged.

    Attributes:
        paths: the folders, as given.
        runs: the content of each one's `run.json`: settings, model, versions, counts, timings.
        embedding_files: the `embeddings` parts in order.
        failure_files: the `failures` parts in order.
    """

    paths: tuple[str, ...]
    runs: tuple[dict[str, Any], ...]
    embedding_files: tuple[Part, ...]
    failure_files: tuple[Part, ...]

    def __len__(self) -> int:
        """Return N, the number of rows."""
        return sum(run["counts"]["embeddings"] for run in self.runs)

    @property
    def run(self) -> dict[str, Any]:
        """The content of `run.json`, of the first dataset if there are several."""
        return self.runs[0]

    @property
    def model(self) -> dict[str, Any]:
        """What made the embeddings: handle, fingerprint, input_size, dimension, weights."""
        return dict(self.run["model"])

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the embeddings beside the model: resize, precision, engine."""
        return {name: self.run["settings"][name] for name in ("resize", "precision", "engine")}

    @property
    def dimension(self) -> int:
        """D, the length of an embedding."""
        return int(self.run["model"]["dimension"])

    @functools.cached_property
    def schema(self) -> pa.Schema:
        """The columns of the `embeddings` files and their types."""
        return self.embedding_files[0].read_schema()

    @property
    def columns(self) -> list[str]:
        """The names of all columns but the embedding."""
        return [name for name in self.schema.names if name != schema.EMBEDDING]

    @functools.cached_property
    def row_groups(self) -> tuple[RowGroup, ...]:
        """All row groups in order; reads the files' footers and checks that they belong."""
        groups = tuple(list_row_groups(self.embedding_files))
        rows = groups[-1].stop if groups else 0
        if rows != len(self):
            raise DatasetError(
                f"{self}: the {schema.EMBEDDINGS_DIR} files hold {rows:,} rows, {schema.RUN_FILE} "
                f"tells of {len(self):,}; files are missing or do not belong there"
            )
        return groups

    def read_vectors(self, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """Read all embeddings into one array, row groups in parallel and straight into place.

        Args:
            out: where they go, C-contiguous float32 [N, D], such as a `numpy.memmap`; None makes
                an array.

        Returns:
            The array, C-contiguous float32 [N, D].

        Raises:
            ValueError: if `out` has another shape, dtype or layout.
        """
        shape = (len(self), self.dimension)
        vectors = np.empty(shape, np.float32) if out is None else out
        fits = vectors.shape == shape and vectors.dtype == np.float32
        if not (fits and vectors.flags.c_contiguous):
            raise ValueError(
                f"out is {vectors.dtype} {list(vectors.shape)}; it must be C-contiguous float32 "
                f"{list(shape)}"
            )
        for _ in self._map(lambda group: group.read_vectors(vectors[group.rows]), self.row_groups):
            pass
        return vectors

    def read_uris(self) -> list[str]:
        """Read the uri of each row."""
        uris: list[str] = self.read_metadata(_URI_ONLY)[schema.URI].to_pylist()
        return uris

    def read_metadata(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read some columns, by default all but the embedding; row i belongs to vector i."""
        return self.read_embeddings(self.columns if columns is None else columns)

    def read_embeddings(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read some or all columns of the `embeddings` files."""
        return _read_files(self.embedding_files, columns)

    def read_failures(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read some or all columns of the `failures` files."""
        return _read_files(self.failure_files, columns)

    def read_batches(
        self, rows: int | None = None, columns: Sequence[str] = _URI_ONLY
    ) -> Iterator[Batch]:
        """Read all rows in order, in batches; memory holds a few of them for each core.

        Args:
            rows: rows in a batch, of which the last may have fewer; None takes the row groups as
                they are in the files, 1,024 rows each, which costs least.
            columns: what comes beside the embedding.
        """
        groups = self._map(lambda group: self._read_group(group, columns), self.row_groups)
        return groups if rows is None else _regroup(groups, rows)

    def take(self, rows: Iterable[int], columns: Sequence[str] = _URI_ONLY) -> Batch:
        """Read some rows by their numbers, in the order given; only their row groups are read.

        Raises:
            IndexError: if there is no such row.
        """
        wanted = np.fromiter(rows, np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows go from 0 to {len(self) - 1}")
        distinct, order = np.unique(wanted, return_inverse=True)

        def select(group: RowGroup) -> Batch:
            inside = distinct[(distinct >= group.start) & (distinct < group.stop)] - group.start
            return _select(self._read_group(group, columns), inside)

        stops = np.array([group.stop for group in self.row_groups], np.int64)
        groups = [self.row_groups[i] for i in np.unique(np.searchsorted(stops, distinct, "right"))]
        return _select(self._concat(list(self._map(select, groups)), columns), order)

    def lookup(self, uris: Sequence[str], columns: Sequence[str] = _URI_ONLY) -> Batch:
        """Read the rows of some uris, in the order of the uris.

        Of a uri that several datasets have, the first one's row is taken.

        Raises:
            DatasetError: if one of the uris is not in the dataset.
        """
        return self.take(self.find_rows(uris), columns)

    def find_rows(self, uris: Sequence[str]) -> list[int]:
        """Return the number of each uri's row, see `lookup`.

        Row groups whose statistics tell that they hold none of the uris are not read.
        """
        wanted = set(uris)

        def find(group: RowGroup) -> list[tuple[str, int]]:
            names = group.read(_URI_ONLY)[schema.URI].to_pylist()
            return [(name, group.start + i) for i, name in enumerate(names) if name in wanted]

        candidates = [group for group in self.row_groups if group.may_hold(uris)]
        rows: dict[str, int] = {}
        for uri, row in itertools.chain.from_iterable(self._map(find, candidates)):
            rows.setdefault(uri, row)
        missing = [uri for uri in uris if uri not in rows]
        if missing:
            others = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
            raise DatasetError(f"{self} has no image with the uri {missing[0]}{others}")
        return [rows[uri] for uri in uris]

    def __str__(self) -> str:
        """Return the paths, as messages name the dataset."""
        return ", ".join(self.paths)

    def _map(self, function: Any, groups: Sequence[RowGroup]) -> Iterator[Any]:
        return map_in_order(function, groups, self.embedding_files)

    def _read_group(self, group: RowGroup, columns: Sequence[str]) -> Batch:
        table = group.read([*columns, schema.EMBEDDING])
        vectors = np.empty((table.num_rows, self.dimension), np.float32)
        group.copy_vectors(table, vectors)
        return Batch(table.select(columns), vectors)

    def _concat(self, batches: list[Batch], columns: Sequence[str]) -> Batch:
        if batches:
            return _concat(batches)
        fields = pa.schema([self.schema.field(name) for name in columns])
        return Batch(fields.empty_table(), np.empty((0, self.dimension), np.float32))


def _select(batch: Batch, rows: npt.NDArray[np.int64]) -> Batch:
    # Made of the buffer: pa.array imports pandas where that is installed, which takes a second.
    places = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])
    return Batch(batch.metadata.take(places), batch.vectors[rows])


def _concat(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    return Batch(
        pa.concat_tables([batch.metadata for batch in batches]),
        np.concatenate([batch.vectors for batch in batches]),
    )


def _regroup(batches: Iterator[Batch], rows: int) -> Iterator[Batch]:
    """Cut batches anew into batches of some rows; only the last may be shorter."""
    if rows < 1:
        raise ValueError(f"rows is {rows}; it must be at least 1")
    held: list[Batch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch.vectors)
        if count < rows:
            continue
        whole = _concat(held)
        stop = count - count % rows
        for start in range(0, stop, rows):
            end = start + rows
            yield Batch(whole.metadata.slice(start, rows), whole.vectors[start:end])
        held = [Batch(whole.metadata.slice(stop), whole.vectors[stop:])]
        count -= stop
    if count:
        yield _concat(held)


def _read_files(files: Sequence[Part], columns: Sequence[str] | None) -> pa.Table:
    names = None if columns is None else list(columns)
    return pa.concat_tables(map_in_order(lambda file: file.read(names), files, files))
