"""What an append has to do: the images that a dataset lacks, and those that failed before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import PCollection, TaggedOutput

from beamvec.embeddings import layout, schema
from beamvec.embeddings.damage import naming_damage, require_unchanged
from beamvec.embeddings.layout import Layout
from beamvec.embeddings.opening import parse_record
from beamvec.embeddings.run_record import FileRecord, RunRecord
from beamvec.errors import DatasetError
from beamvec.transforms.files import storage
from beamvec.transforms.planning.plan import split_block
from beamvec.transforms.records import own_columns
from beamvec.transforms.records.account import ACCOUNTS, NAMED, Account
from beamvec.transforms.records.images import ImageRef, RefBlock

_BUCKETS = 256
"""Parts that input and dataset are compared in; memory holds one of them for each worker."""


_ADVICE = (
    "restore it, or make the dataset anew in another `output`; `beamvec inspect --verify` looks at "
    "all of it"
)


class WrittenPart(NamedTuple):
    """A part of the dataset that is appended to.

    Attributes:
        path: where it is.
        written: what the dataset's record tells of it, None where an earlier version told nothing.
    """

    path: str
    written: FileRecord | None


def list_parts(table: str, dataset: Layout) -> Iterator[WrittenPart]:
    """Yield the parts of a table, with what the dataset's record tells of them.

    Raises:
        DatasetError: if one is missing, or there is one that no run wrote: images would be embedded
            twice, or not at all.
    """
    record = _read_record(dataset)
    paths = {f"{table}/{path.rpartition('/')[2]}": path for path in _list_files(dataset, table)}
    told = {name for name in record.files if name.startswith(f"{table}/")}
    for name in sorted(told - paths.keys()):
        raise DatasetError(f"{dataset.path}/{name} is missing; {_ADVICE}")
    if record.settings.format_version >= schema.FIRST_WITH_FILES:
        for name in sorted(paths.keys() - told):
            raise DatasetError(
                f"{paths[name]} is there, but {layout.RUN_FILE} does not tell of it; move it away"
            )
    for name, path in paths.items():
        yield WrittenPart(path, record.files.get(name))


def _read_record(dataset: Layout) -> RunRecord:
    content, success = map(storage.read_bytes, (dataset.run_file, dataset.success_file))
    return parse_record(content, success, dataset.run_file)


def _list_files(dataset: Layout, table: str) -> list[str]:
    found = storage.list_files(dataset.table(table))
    return [path for path in found if path.endswith(layout.PART_SUFFIX)]


@contextmanager
def _open(part: WrittenPart) -> Iterator[pq.ParquetFile]:
    """Open a part, after a look at whether it is what was written."""
    try:
        with naming_damage(part.path):
            if part.written:
                with storage.open_file(part.path) as file:
                    require_unchanged(file, part.path, part.written)
            with storage.open_file(part.path) as file:
                yield pq.ParquetFile(file)
    except DatasetError as error:
        # Of a failed pipeline the first cause is told, which would be pyarrow's, without the name.
        raise DatasetError(f"{error}; {_ADVICE}") from None


def read_known(part: WrittenPart) -> Iterator[RefBlock]:
    """Yield the images of an `_inputs` file as they were when they were embedded."""
    names = schema.table_schema(layout.INPUTS_DIR).names
    with _open(part) as file:
        for batch in file.iter_batches(columns=names):
            yield RefBlock(tuple(map(ImageRef, *(column.to_pylist() for column in batch.columns))))


def read_embedded(part: WrittenPart, columns: pa.Schema) -> Iterator[RefBlock]:
    """Yield the images of an `embeddings` file, with the values of the manifest's own columns.

    What follows from these is told, and nothing else: the whole file is not read to check it.
    """
    return read_failed(part._replace(written=None), columns)


def read_failed(part: WrittenPart, columns: pa.Schema) -> Iterator[RefBlock]:
    """Yield the images of a `failures` file, with the values of the manifest's own columns."""
    with _open(part) as file:
        for batch in file.iter_batches(columns=[schema.URI, *columns.names]):
            uris = batch.column(schema.URI).to_pylist()
            own = [own_columns.to_python(batch.column(name)) for name in columns.names]
            yield RefBlock(
                tuple(
                    ImageRef(uri, columns=tuple(values))
                    for uri, *values in zip(uris, *own, strict=True)
                )
            )


def select_missing(
    refs: Iterable[ImageRef],
    known: Iterable[ImageRef],
    failed: Iterable[ImageRef],
    embedded: Iterable[ImageRef] = (),
) -> tuple[list[ImageRef], Account]:
    """Decide what to do with some of the input, given all that the dataset has of the same uris.

    Args:
        refs: the input's refs.
        known: the dataset's images, as they were when they were embedded.
        failed: the dataset's failures.
        embedded: the dataset's images again, with their own columns, if it has any.

    Returns:
        What to embed, and the account of what is not: inputs that are known, and one input less
        for each earlier failure, which the dataset has counted already.
    """
    known_at = {image.uri: image for image in known}
    failed_at = {ref.uri: ref for ref in failed if ref.uri not in known_at}
    again = [ref for ref in refs if ref.uri in known_at]
    missing = [ref for ref in refs if ref.uri not in known_at]
    changed = sorted({ref.uri for ref in again if _differs(ref, known_at[ref.uri])})
    columns_at = {image.uri: repr(image.columns) for image in embedded}  # NaN is like NaN here.
    relabelled = sorted(
        {ref.uri for ref in again if columns_at.get(ref.uri, now := repr(ref.columns)) != now}
    )
    account = Account(
        inputs=-len(failed_at),
        known=len(again),
        changed=len(changed),
        changed_uris=tuple(changed[:NAMED]),
        relabelled=len(relabelled),
        relabelled_uris=tuple(relabelled[:NAMED]),
    )
    named = {ref.uri for ref in missing}
    missing += [ref for uri, ref in failed_at.items() if uri not in named]
    return missing, account


def _differs(ref: ImageRef, known: ImageRef) -> bool:
    """Compare what both sides know; a list of remote URIs knows neither size nor time."""
    pairs = ((ref.size_bytes, known.size_bytes), (ref.modified_s, known.modified_s))
    return any(now != then for now, then in pairs if now is not None and then is not None)


class SelectMissing(beam.PTransform[Any, Any]):
    """Leave out what a dataset holds: `RefBlock` -> dict of `missing` blocks and `accounts`.

    Args:
        dataset: its folder.
        columns: the manifest's own columns.
        find_again: tells where an image is now that failed before, and that the input lacks.
    """

    def __init__(
        self,
        dataset: Layout,
        columns: pa.Schema,
        find_again: Callable[[ImageRef], ImageRef] | None = None,
    ):
        super().__init__()
        self._find_again = find_again
        self._dataset = dataset
        self._columns = columns

    def expand(self, blocks: PCollection[RefBlock]) -> dict[str, PCollection[Any]]:
        """Apply the transform."""
        list_all = beam.FlatMap(list_parts, self._dataset)
        known = (
            blocks.pipeline
            | "KnownFiles" >> beam.Create([layout.INPUTS_DIR])
            | "ListKnownFiles" >> list_all.with_output_types(WrittenPart)
            | "ReadKnown" >> beam.FlatMap(read_known).with_output_types(RefBlock)
        )
        failed = (
            blocks.pipeline
            | "FailedFiles" >> beam.Create([layout.FAILURES_DIR])
            | "ListFailedFiles" >> list_all.with_output_types(WrittenPart)
            | "ReadFailed" >> beam.FlatMap(read_failed, self._columns).with_output_types(RefBlock)
        )
        sides = {"refs": blocks, "known": known, "failed": failed}
        if self._columns.names:
            sides["embedded"] = (
                blocks.pipeline
                | "EmbeddedFiles" >> beam.Create([layout.EMBEDDINGS_DIR])
                | "ListEmbeddedFiles" >> list_all.with_output_types(WrittenPart)
                | "ReadEmbedded"
                >> beam.FlatMap(read_embedded, self._columns).with_output_types(RefBlock)
            )
        split = beam.FlatMap(split_block, _BUCKETS).with_output_types(tuple[int, RefBlock])
        parts = {side: found | f"Split{side.title()}" >> split for side, found in sides.items()}
        selected = (
            parts
            | "GroupByUri" >> beam.CoGroupByKey()
            | "Select"
            >> beam.FlatMap(_select, self._find_again)
            .with_output_types(RefBlock)
            .with_outputs(ACCOUNTS, main="missing")
        )
        return {"missing": selected["missing"], ACCOUNTS: selected[ACCOUNTS]}


def _select(
    element: tuple[int, dict[str, Iterable[RefBlock]]],
    find_again: Callable[[ImageRef], ImageRef] | None,
) -> Iterator[RefBlock | TaggedOutput[str, Any]]:
    sides = {
        side: [ref for block in blocks for ref in block.refs] for side, blocks in element[1].items()
    }
    if find_again:
        sides["failed"] = list(map(find_again, sides["failed"]))
    missing, account = select_missing(**sides)
    yield TaggedOutput(ACCOUNTS, account)
    yield RefBlock(missing)
