"""What an append has to do: the images that a dataset lacks, and those that failed before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import PCollection, TaggedOutput

from beamvec.embeddings import layout, schema
from beamvec.embeddings.layout import Layout
from beamvec.transforms.files import storage
from beamvec.transforms.planning.plan import ACCOUNTS, split_block
from beamvec.transforms.records import own_columns
from beamvec.transforms.records.account import NAMED, Account
from beamvec.transforms.records.images import ImageRef, RefBlock

_BUCKETS = 256
"""Parts that input and dataset are compared in; memory holds one of them for each worker."""


def read_known(path: str) -> Iterator[RefBlock]:
    """Yield the images of an `_inputs` file as they were when they were embedded."""
    with storage.open_file(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(
            columns=schema.table_schema("_inputs").names
        ):
            yield RefBlock(tuple(map(ImageRef, *(column.to_pylist() for column in batch.columns))))


def read_failed(path: str, columns: pa.Schema) -> Iterator[RefBlock]:
    """Yield the images of a `failures` file, with the values of the manifest's own columns."""
    with storage.open_file(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=[schema.URI, *columns.names]):
            uris = batch.column(schema.URI).to_pylist()
            own = [own_columns.to_python(batch.column(name)) for name in columns.names]
            yield RefBlock(
                tuple(
                    ImageRef(uri, columns=tuple(values))
                    for uri, *values in zip(uris, *own, strict=True)
                )
            )


def select_missing(
    refs: Iterable[ImageRef], known: Iterable[ImageRef], failed: Iterable[ImageRef]
) -> tuple[list[ImageRef], Account]:
    """Decide what to do with some of the input, given all that the dataset has of the same uris.

    Args:
        refs: the input's refs.
        known: the dataset's images, as they were when they were embedded.
        failed: the dataset's failures.

    Returns:
        What to embed, and the account of what is not: inputs that are known, and one input less
        for each earlier failure, which the dataset has counted already.
    """
    known_at = {image.uri: image for image in known}
    failed_at = {ref.uri: ref for ref in failed if ref.uri not in known_at}
    again = [ref for ref in refs if ref.uri in known_at]
    missing = [ref for ref in refs if ref.uri not in known_at]
    changed = sorted({ref.uri for ref in again if _differs(ref, known_at[ref.uri])})
    account = Account(
        inputs=-len(failed_at),
        known=len(again),
        changed=len(changed),
        changed_uris=tuple(changed[:NAMED]),
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
    """

    def __init__(self, dataset: Layout, columns: pa.Schema):
        super().__init__()
        self._dataset = dataset
        self._columns = columns

    def expand(self, blocks: PCollection[RefBlock]) -> dict[str, PCollection[Any]]:
        """Apply the transform."""
        known = (
            blocks.pipeline
            | "KnownFiles" >> beam.Create([self._dataset.table(layout.INPUTS_DIR)])
            | "ListKnownFiles" >> beam.FlatMap(_list_parts)
            | "ReadKnown" >> beam.FlatMap(read_known).with_output_types(RefBlock)
        )
        failed = (
            blocks.pipeline
            | "FailedFiles" >> beam.Create([self._dataset.table(layout.FAILURES_DIR)])
            | "ListFailedFiles" >> beam.FlatMap(_list_parts)
            | "ReadFailed" >> beam.FlatMap(read_failed, self._columns).with_output_types(RefBlock)
        )
        sides = {"refs": blocks, "known": known, "failed": failed}
        split = beam.FlatMap(split_block, _BUCKETS).with_output_types(tuple[int, RefBlock])
        parts = {side: found | f"Split{side.title()}" >> split for side, found in sides.items()}
        selected = (
            parts
            | "GroupByUri" >> beam.CoGroupByKey()
            | "Select"
            >> beam.FlatMap(_select)
            .with_output_types(RefBlock)
            .with_outputs(ACCOUNTS, main="missing")
        )
        return {"missing": selected["missing"], ACCOUNTS: selected[ACCOUNTS]}


def _list_parts(folder: str) -> list[str]:
    return [path for path in storage.list_files(folder) if path.endswith(layout.PART_SUFFIX)]


def _select(
    element: tuple[int, dict[str, Iterable[RefBlock]]],
) -> Iterator[RefBlock | TaggedOutput[str, Any]]:
    sides = {
        side: [ref for block in blocks for ref in block.refs] for side, blocks in element[1].items()
    }
    missing, account = select_missing(sides["refs"], sides["known"], sides["failed"])
    yield TaggedOutput(ACCOUNTS, account)
    yield RefBlock(missing)
