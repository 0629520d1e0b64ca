"""What an append has to do: the images that a dataset lacks, and those that failed before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import PCollection, TaggedOutput

from embeddings import schema
from transforms import manifest, storage
from transforms.plan import ACCOUNTS
from transforms.records import Account, ImageRef


class KnownImage(NamedTuple):
    """An image that a dataset holds, with the size and time that it had when it was embedded."""

    uri: str
    size_bytes: int | None
    modified_s: float | None


def read_known(path: str) -> Iterator[KnownImage]:
    """Yield the images of an `_inputs` file."""
    with storage.open_file(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=schema.inputs_schema().names):
            yield from map(KnownImage, *(column.to_pylist() for column in batch.columns))


def read_failed(path: str, columns: pa.Schema) -> Iterator[ImageRef]:
    """Yield the images of a `failures` file, with the values of the manifest's own columns."""
    with storage.open_file(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=[schema.URI, *columns.names]):
            uris = batch.column(schema.URI).to_pylist()
            own = [manifest.to_python(batch.column(name)) for name in columns.names]
            for uri, *values in zip(uris, *own, strict=True):
                yield ImageRef(uri, columns=tuple(values))


def select_missing(
    refs: list[ImageRef], known: list[KnownImage], failed: list[ImageRef]
) -> tuple[list[ImageRef], Account]:
    """Decide what to do with one uri.

    Args:
        refs: the input's refs of this uri.
        known: the dataset's image of it, if it has one.
        failed: the dataset's failure of it, if it has one.

    Returns:
        What to embed, and the account of what is not: inputs that are known, and one input less
        for an earlier failure, which the dataset has counted already.
    """
    if known:
        changed = any(_differs(ref, known[0]) for ref in refs)
        named = (known[0].uri,) if changed else ()
        return [], Account(known=len(refs), changed=int(changed), changed_uris=named)
    if failed:
        return refs or failed[:1], Account(inputs=-1)
    return refs, Account()


def _differs(ref: ImageRef, known: KnownImage) -> bool:
    """Compare what both sides know; a list of remote URIs knows neither size nor time."""
    pairs = ((ref.size_bytes, known.size_bytes), (ref.modified_s, known.modified_s))
    return any(now != then for now, then in pairs if now is not None and then is not None)


class SelectMissing(beam.PTransform[Any, Any]):
    """Leave out what a dataset holds: `ImageRef` -> dict of `missing` refs and `accounts`.

    Args:
        path: the dataset's folder.
        columns: the manifest's own columns.
    """

    def __init__(self, path: str, columns: pa.Schema):
        super().__init__()
        self._path = path
        self._columns = columns

    def expand(self, refs: PCollection[ImageRef]) -> dict[str, PCollection[Any]]:
        """Apply the transform."""
        known = (
            refs.pipeline
            | "KnownFiles" >> beam.Create([storage.join(self._path, schema.INPUTS_DIR)])
            | "ListKnownFiles" >> beam.FlatMap(_list_parts)
            | "ReadKnown" >> beam.FlatMap(read_known)
        )
        failed = (
            refs.pipeline
            | "FailedFiles" >> beam.Create([storage.join(self._path, schema.FAILURES_DIR)])
            | "ListFailedFiles" >> beam.FlatMap(_list_parts)
            | "ReadFailed" >> beam.FlatMap(read_failed, self._columns)
        )
        sides = {"refs": refs, "known": known, "failed": failed}
        keyed = {
            side: images | f"Key{side.title()}" >> beam.Map(_key_by_uri)
            for side, images in sides.items()
        }
        selected = (
            keyed
            | "GroupByUri" >> beam.CoGroupByKey()
            | "Select" >> beam.FlatMap(_select).with_outputs(ACCOUNTS, main="missing")
        )
        return {"missing": selected["missing"], ACCOUNTS: selected[ACCOUNTS]}


def _list_parts(folder: str) -> list[str]:
    files = [metadata.path for metadata in storage.list_files(folder)]
    return [path for path in files if path.endswith(".parquet")]


def _key_by_uri(image: ImageRef | KnownImage) -> tuple[str, ImageRef | KnownImage]:
    return image.uri, image


def _select(
    element: tuple[str, dict[str, Iterable[Any]]],
) -> Iterator[ImageRef | TaggedOutput[str, Any]]:
    sides = {side: list(images) for side, images in element[1].items()}
    missing, account = select_missing(sides["refs"], sides["known"], sides["failed"])
    if account != Account():
        yield TaggedOutput(ACCOUNTS, account)
    yield from missing
