"""What in an output folder is beamvec's own, and may be deleted: nothing else ever is.

A part is its own if the dataset's record tells of its name and size, or, where no record does, if
its footer shows that beamvec wrote it. Files beside the chunks are known by their names, which
nobody else gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from beamvec.embeddings import layout, schema
from beamvec.embeddings.layout import INPUTS_DIR, INT8_DIR, TABLE_DIRS, Layout
from beamvec.embeddings.run_record import FileRecord, RunRecord
from beamvec.errors import OutputError
from beamvec.transforms.files import storage
from beamvec.transforms.files.storage import Entry

_TEMPORARY = r"(\.[0-9a-f]{32}\.tmp)?"
_PART = rf"part-[a\d-]+-of-\d+\.parquet{_TEMPORARY}"
_TABLES = "|".join(TABLE_DIRS)
_WORK = re.compile(
    rf"([0-9a-f]{{64}}\.parquet|{'|'.join(map(re.escape, layout.WORK_FILES))}){_TEMPORARY}"
    rf"|parts/([0-9a-f]{{32}}/)?({_TABLES})/{_PART}"
)
_MARK = re.compile(
    rf"({layout.RUN_FILE}|{layout.LOCK_FILE}|settings\.json|{layout.SUCCESS_FILE}){_TEMPORARY}"
)
_INT8 = re.compile(rf"([0-9a-f]{{64}})\.zip{_TEMPORARY}")
_THREADS = 16


def find_parts(place: Layout, run: RunRecord | None) -> list[str]:
    """Return the files of the three tables, if all that is there is beamvec's own.

    Args:
        place: the dataset's folder.
        run: the record of the dataset, None if there is none.

    Raises:
        OutputError: naming what is not provably beamvec's.
    """
    known = run.files if run else {}
    found = [
        (table, entry) for table in TABLE_DIRS for entry in storage.list_tree(place.table(table))
    ]
    unknown = [(table, entry) for table, entry in found if not _is_known(place, entry, known)]
    with ThreadPoolExecutor(_THREADS, "footers") as threads:
        proofs = threads.map(lambda pair: _is_proven(place, *pair), unknown)
        for (_, entry), is_own in zip(unknown, proofs, strict=True):
            if not is_own:
                raise _refuse(entry.path)
    return [entry.path for _, entry in found]


def _is_known(place: Layout, entry: Entry, known: Mapping[str, FileRecord]) -> bool:
    file = known.get(_name(place, entry))
    return entry.is_file and file is not None and file.size_bytes == entry.size_bytes


def _is_proven(place: Layout, table: str, entry: Entry) -> bool:
    name = _name(Layout(place.table(table)), entry)
    if not entry.is_file or not re.fullmatch(_PART, name):
        return False
    if name.endswith(".tmp"):  # Half of one: nobody else gives such a name.
        return True
    try:
        with storage.open_file(entry.path) as file:
            found = pq.ParquetFile(file).schema_arrow
    except (pa.ArrowException, OSError):
        return False
    if table == INPUTS_DIR:
        return found.names == schema.table_schema(INPUTS_DIR).names
    return schema.METADATA_KEY in (found.metadata or {})


def find_work(place: Layout) -> list[str]:
    """Return the files of the folder of chunk files, if all that is there is beamvec's own.

    Raises:
        OutputError: naming what is not.
    """
    found = storage.list_tree(place.chunks)
    for entry in found:
        if not entry.is_file or not _WORK.fullmatch(_name(Layout(place.chunks), entry)):
            raise _refuse(entry.path)
    return [entry.path for entry in found]


def find_leftovers(place: Layout) -> Iterator[str]:
    """Yield the temporary files that a killed run left right in the dataset's folder."""
    for path in storage.list_files(place.path):
        name = path.rpartition("/")[2]
        if name.endswith(".tmp") and _MARK.fullmatch(name):
            yield path


def clear_work(place: Layout, chunks: bool = True) -> None:
    """Delete what is beamvec's own in the folder of chunk files, but for the claim.

    Args:
        place: the dataset's folder.
        chunks: whether the chunk files go too, and not only parts and notes.
    """
    claims = (place.begun_file, place.old_begun_file, place.old_publication_file)
    own = [
        entry.path
        for entry in storage.list_tree(place.chunks)
        if entry.is_file
        and entry.path not in claims
        and _WORK.fullmatch(_name(Layout(place.chunks), entry))
        and (chunks or not layout.is_chunk_name(_name(Layout(place.chunks), entry)))
    ]
    storage.delete_files(own, place.chunks)


def check_models(place: Layout) -> None:
    """Raise `OutputError` if the folder of quantised models holds what is not beamvec's own."""
    folder = f"{place.path}/{INT8_DIR}"
    for entry in storage.list_tree(folder):
        if not entry.is_file or not _INT8.fullmatch(_name(Layout(folder), entry)):
            raise _refuse(entry.path)


def clear_int8(place: Layout, used: str) -> None:
    """Delete the quantised models that a dataset is not made with, and what is left of writing one.

    Args:
        place: the dataset's folder.
        used: the SHA-256 of the one that it is made with; empty for none.
    """
    folder = f"{place.path}/{INT8_DIR}"
    own = [
        entry.path
        for entry in storage.list_tree(folder)
        if entry.is_file
        and _INT8.fullmatch(_name(Layout(folder), entry))
        and entry.path != place.int8_file(used)
    ]
    if own:
        storage.delete_files(own, folder)


def _name(place: Layout, entry: Entry) -> str:
    return entry.path.removeprefix(f"{place.path}/")


def _refuse(path: str) -> OutputError:
    return OutputError(
        f"{path} is there, but beamvec did not write it; nothing was touched: choose another "
        "`output`, or move it away"
    )
