"""Reading a dataset: vectors, metadata, batches and lookups, in parallel."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beamvec.embeddings import layout, schema
from beamvec.embeddings.arguments import as_columns, as_row_numbers, as_uris, require_condition
from beamvec.embeddings.batches import Batch, choose_rows, cut_batches, join_batches, join_tables
from beamvec.embeddings.counted import counted
from beamvec.embeddings.parts import Part, RowGroup, list_row_groups, to_texts
from beamvec.embeddings.run_record import RunRecord
from beamvec.embeddings.settings import Settings
from beamvec.embeddings.threads import map_in_order
from beamvec.embeddings.vectors import normalize_rows, require_place
from beamvec.errors import ArgumentError, DatasetError

if TYPE_CHECKING:
    import pyarrow.compute as pc

_Result = TypeVar("_Result")
_Columns: TypeAlias = str | Iterable[str] | None

_URI_ONLY = (schema.URI,)


@dataclass(frozen=True, repr=False)
class Dataset:
    """A finished dataset, or several of the same model and settings one after the other.

    Rows have one order for all methods: the datasets as they were given, the parts of each by
    name, and within a part by uri. Methods raise `DatasetError` for files that are damaged, and
    for columns that are not there. Where they take several names or rows, they take one as well.

    Attributes:
        paths: the folders, as given.
        runs: the record in each one's `run.json`.
        embedding_files: the `embeddings` parts in order.
        failure_files: the `failures` parts in order.
    """

    paths: tuple[str, ...]
    runs: tuple[RunRecord, ...]
    embedding_files: tuple[Part, ...]
    failure_files: tuple[Part, ...]

    def __len__(self) -> int:
        """Return N, the number of rows."""
        return sum(run.counts.embeddings for run in self.runs)

    @property
    def run(self) -> RunRecord:
        """The record of the run that made the dataset, of the first one if there are several."""
        return self.runs[0]

    @property
    def settings(self) -> Settings:
        """What changes the embeddings, of the first dataset if there are several."""
        return self.run.settings

    @property
    def dimension(self) -> int:
        """D, the length of an embedding."""
        return self.run.dimension

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
        self._require_rows(layout.EMBEDDINGS_DIR, groups[-1].stop if groups else 0)
        return groups

    def _require_rows(self, table: str, found: int) -> None:
        counts = [run.counts for run in self.runs]
        told = sum(
            each.failures if table == layout.FAILURES_DIR else each.embeddings for each in counts
        )
        if found != told:
            raise DatasetError(
                f"{self}: the {table} files hold {counted(found, 'row')}, {layout.RUN_FILE} tells "
                f"of {told:,}; files are missing or do not belong there"
            )

    def read_vectors(
        self, out: npt.NDArray[np.float32] | None = None, *, normalize: bool = False
    ) -> npt.NDArray[np.float32]:
        """Read all embeddings into one array, row groups in parallel and straight into place.

        Args:
            out: where they go, C-contiguous float32 [N, D], such as a `numpy.memmap`; None makes
                an array.
            normalize: whether to divide each by its length; those of zeros stay as they are.

        Returns:
            The array, C-contiguous float32 [N, D].

        Raises:
            ValueError: if `out` has another shape, dtype or layout.
        """
        groups = self.row_groups
        vectors = np.empty((len(self), self.dimension), np.float32) if out is None else out
        require_place(vectors, (len(self), self.dimension))

        def read(group: RowGroup) -> None:
            block = vectors[group.rows]
            group.read_vectors(block)
            if normalize:
                normalize_rows(block)

        for _ in self._map(read, groups):
            pass
        return vectors

    def read_uris(self) -> list[str]:
        """Read the uri of each row."""
        return to_texts(self.read_metadata(_URI_ONLY)[schema.URI], str(self))

    def read_metadata(self, columns: _Columns = None) -> pa.Table:
        """Read some columns, by default all but the embedding; row i belongs to vector i."""
        return self._read_table(layout.EMBEDDINGS_DIR, self._choose(columns))

    def read_embeddings(self, columns: _Columns = None) -> pa.Table:
        """Read some or all columns of the `embeddings` files."""
        names = None if columns is None else self._choose(columns)
        return self._read_table(layout.EMBEDDINGS_DIR, names)

    def read_failures(self, columns: _Columns = None) -> pa.Table:
        """Read some or all columns of the `failures` files."""
        there, what = self.failure_files[0].read_schema().names, f"{self}/{layout.FAILURES_DIR}"
        names = None if columns is None else as_columns(columns, there, what)
        return self._read_table(layout.FAILURES_DIR, names)

    def to_pandas(self, columns: _Columns = None, *, vectors: bool = False) -> Any:
        """Read some columns, by default all but the embedding, into a `pandas.DataFrame`.

        Args:
            columns: what to read.
            vectors: whether to add the column `embedding`, of which each value is an array
                float32 [D]. `read_vectors` has them in one array, which costs much less.

        Raises:
            ImportError: if pandas is not installed.
        """
        if importlib.util.find_spec("pandas") is None:
            raise ImportError("to_pandas needs pandas, which is not installed: pip install pandas")
        frame = self.read_metadata(columns).to_pandas()
        if vectors:
            frame[schema.EMBEDDING] = list(self.read_vectors())
        return frame

    def read_batches(
        self, rows: int | None = None, columns: _Columns = _URI_ONLY, *, normalize: bool = False
    ) -> Iterator[Batch]:
        """Read all rows in order, in batches; memory holds a few of them for each core.

        Args:
            rows: rows in a batch, of which the last may have fewer; None takes the row groups as
                they are in the files, 1,024 rows each, which costs least.
            columns: what comes beside the embedding; None takes all.
            normalize: as in `read_vectors`.
        """
        if rows is not None and operator.index(rows) < 1:
            raise ArgumentError(f"rows is {rows}; it must be at least 1")
        names = self._choose(columns)
        groups = self._map(lambda group: self._read_group(group, names, normalize), self.row_groups)
        return groups if rows is None else cut_batches(groups, rows)

    def take(
        self, rows: int | Iterable[int], columns: _Columns = _URI_ONLY, *, normalize: bool = False
    ) -> Batch:
        """Read some rows by their numbers, in the order given; only their row groups are read.

        Raises:
            ArgumentError: if `rows` is a mask, or has several dimensions.
            IndexError: if there is no such row.
        """
        distinct, order = np.unique(as_row_numbers(rows, len(self)), return_inverse=True)
        names = self._choose(columns)

        def choose(group: RowGroup) -> Batch:
            inside = distinct[(distinct >= group.start) & (distinct < group.stop)] - group.start
            return choose_rows(self._read_group(group, names, normalize), inside)

        stops = np.array([group.stop for group in self.row_groups], np.int64)
        groups = [self.row_groups[i] for i in np.unique(np.searchsorted(stops, distinct, "right"))]
        batches = list(self._map(choose, groups)) or [self._make_empty(names)]
        return choose_rows(join_batches(batches), order)

    def lookup(
        self, uris: str | Iterable[str], columns: _Columns = _URI_ONLY, *, normalize: bool = False
    ) -> Batch:
        """Read the rows of some uris, in the order of the uris.

        Of a uri that several datasets have, the first one's row is taken.

        Raises:
            DatasetError: if one of the uris is not in the dataset.
        """
        names = self._choose(columns)  # What is wrong is told before anything is read.
        return self.take(self.find_rows(uris), names, normalize=normalize)

    def find_rows(self, uris: str | Iterable[str]) -> list[int]:
        """Return the number of each uri's row, see `lookup`.

        Row groups whose statistics tell that they hold none of the uris are not read.
        """
        names = as_uris(uris)
        wanted = set(names)
        ordered = sorted(wanted)

        def find(group: RowGroup) -> list[tuple[str, int]]:
            found = group.read_uris()
            return [(uri, group.start + i) for i, uri in enumerate(found) if uri in wanted]

        groups = self.row_groups
        candidates = [group for group in groups if group.may_hold(ordered)]
        rows: dict[str, int] = {}
        for uri, row in itertools.chain.from_iterable(self._map(find, candidates)):
            rows.setdefault(uri, row)
        missing = [uri for uri in names if uri not in rows]
        if missing:
            others = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
            first = next((group.read_uris()[0] for group in groups if group.stop > group.start), "")
            like = f"; one that it has is {first}" if first else ""
            raise DatasetError(f"{self} has no image with the uri {missing[0]}{others}{like}")
        return [rows[uri] for uri in names]

    def find_rows_where(self, where: pc.Expression) -> npt.NDArray[np.int64]:
        """Return the numbers of the rows for which a condition on their columns is true.

        Only the columns that it names are read. Where it is null, as a comparison with null is, it
        is not true. `take` reads the rows.

        Args:
            where: an expression, such as `pyarrow.compute.field("width") > 640`.

        Returns:
            int64 [n], ascending.

        Raises:
            ArgumentError: if it is no expression.
            DatasetError: if a column is not there, or has a type that the expression cannot take.
        """
        require_condition(where, self.schema, str(self))
        starts = [group.start for group in self.row_groups if group.index == 0]
        parts = [group.part for group in self.row_groups if group.index == 0]
        found = map_in_order(lambda part: part.find_rows(where), parts, parts)
        numbers = [rows + start for rows, start in zip(found, starts, strict=True)]
        return np.concatenate([np.empty(0, np.int64), *numbers])

    def __str__(self) -> str:
        """Return the paths, by which messages name the dataset."""
        return ", ".join(self.paths)

    def __repr__(self) -> str:
        # Of the records only: whoever looks at a variable does not want to wait for a store.
        settings = self.settings
        common = [column.name for column in schema.columns_of(layout.EMBEDDINGS_DIR)]
        failures = sum(run.counts.failures for run in self.runs)
        return (
            f"Dataset({str(self)!r})\n"
            f"  rows      {len(self):,} x {self.dimension} float32\n"
            f"  model     {self.run.model} ({settings.fingerprint[:12]})\n"
            f"  settings  {self.run.spec.resize}, {settings.precision}, {settings.engine}\n"
            f"  columns   {', '.join([*common, *settings.columns])}\n"
            f"  failures  {failures:,}"
        )

    def _read_table(self, name: str, columns: Sequence[str] | None) -> pa.Table:
        files = self.failure_files if name == layout.FAILURES_DIR else self.embedding_files
        table = join_tables(map_in_order(lambda file: file.read(columns), files, files))
        if table.column_names:  # A table without columns has no rows.
            self._require_rows(name, table.num_rows)
        return table

    def _map(
        self, function: Callable[[RowGroup], _Result], groups: Sequence[RowGroup]
    ) -> Iterator[_Result]:
        return map_in_order(function, groups, self.embedding_files)

    def _choose(self, columns: _Columns) -> list[str]:
        if columns is None:
            return self.columns
        return as_columns(columns, self.schema.names, str(self))

    def _read_group(self, group: RowGroup, columns: list[str], normalize: bool) -> Batch:
        table = group.read([*columns, schema.EMBEDDING])
        vectors = np.empty((table.num_rows, self.dimension), np.float32)
        group.copy_vectors(table, vectors)
        if normalize:
            normalize_rows(vectors)
        return Batch(table.select(columns), vectors)

    def _make_empty(self, columns: list[str]) -> Batch:
        fields = pa.schema([self.schema.field(name) for name in columns])
        return Batch(fields.empty_table(), np.empty((0, self.dimension), np.float32))
