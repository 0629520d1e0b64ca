"""Opening datasets: what is there, whether it is finished, whether several fit together."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import pyarrow as pa
from pyarrow import fs

from beamvec.embeddings import layout, schema
from beamvec.embeddings.dataset import Dataset
from beamvec.embeddings.parts import Part
from beamvec.embeddings.run_record import MAX_BYTES, RunRecord
from beamvec.errors import DatasetError

_GCS_RETRY_S = 20
"""How long a store may not answer. Arrow's own limit is 15 minutes, in silence."""

_Path: TypeAlias = str | os.PathLike[str]

_COLLAPSED_URI = re.compile(r"[a-z][a-z0-9+.-]*:/(?!/)")
"""What a `pathlib.Path` makes of a URI: it takes `//` for `/`."""

_MAX_DIMENSION = 2**31 - 1
"""What the offsets of a Parquet list can count."""


def open_dataset(path: _Path | Iterable[_Path], *more: _Path) -> Dataset:
    """Open a finished dataset, or several of the same model and settings as one.

    Args:
        path: a folder, of which `~` is the home, or a URI of one that pyarrow has a filesystem for
            (s3://, gs://); or a list of them.
        more: other datasets, whose rows follow.

    Raises:
        DatasetError: if there is no dataset, it is not finished, or they do not fit together.

    >>> open_dataset("nowhere")
    Traceback (most recent call last):
    ...
    beamvec.errors.DatasetError: nowhere does not exist
    """
    several = isinstance(path, Iterable) and not isinstance(path, (str, bytes))
    paths = [_as_text(each) for each in (*(path if several else (path,)), *more)]  # type: ignore[misc]
    if not paths:
        raise DatasetError("no dataset to open: the list of paths is empty")
    datasets = [_open_one(each) for each in paths]
    first = datasets[0]
    for other in datasets[1:]:
        _require_same(first, other)
    return Dataset(
        paths=tuple(paths),
        runs=tuple(dataset.run for dataset in datasets),
        embedding_files=tuple(file for dataset in datasets for file in dataset.embedding_files),
        failure_files=tuple(file for dataset in datasets for file in dataset.failure_files),
    )


def _as_text(path: Any) -> str:
    """Return a path or URI as a string, with the home in place of `~`."""
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str) or not text:
        shown = repr(path) if isinstance(path, (str, bytes)) else f"a {type(path).__name__}"
        raise DatasetError(f"{shown} is no path of a dataset; give a string or a pathlib.Path")
    if not isinstance(path, str) and _COLLAPSED_URI.match(text):
        raise DatasetError(f"{text} was a URI before it became a pathlib.Path; give it as a string")
    return text if "://" in text else os.path.expanduser(text)


def _require_same(first: Dataset, other: Dataset) -> None:
    """Raise if the embeddings of two datasets cannot be compared."""
    theirs = _describe_kind(other)
    for name, value in _describe_kind(first).items():
        if theirs[name] != value:
            between = f": {value} and {theirs[name]}" if isinstance(value, str) else ""
            raise DatasetError(
                f"{first} and {other} cannot be read as one, their {name} differ{between}"
            )


def _describe_kind(dataset: Dataset) -> dict[str, Any]:
    """Return what datasets must have in common to be read as one."""
    settings = dataset.settings
    return {
        "model": settings.fingerprint,
        **{name: str(value) for name, value in dataclasses.asdict(dataset.run.spec).items()},
        "dimension": str(dataset.dimension),
        "precision": settings.precision,
        "int8 model": settings.int8,
        "engine": settings.engine,
        "xla": settings.xla,
        "columns": dataset.schema,
    }


def _open_one(path: str) -> Dataset:
    filesystem, root = resolve(path)
    try:
        run = _read_run(filesystem, path, root)
        embedding_files, failure_files = (
            list_parts(filesystem, root, table, run)
            for table in (layout.EMBEDDINGS_DIR, layout.FAILURES_DIR)
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"cannot open {path}: {error}") from error
    for table, files in [("embeddings", embedding_files), ("failures", failure_files)]:
        if not files:
            raise DatasetError(f"{path} is damaged: it has no {table} files")
    return Dataset((path,), (run,), embedding_files, failure_files)


def resolve(path: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem of a dataset and its folder there, without a slash at the end."""
    if "://" not in path:
        return fs.LocalFileSystem(), path.rstrip("/") or "/"
    bounded = path.startswith("gs://") and "?" not in path
    try:
        filesystem, root = fs.FileSystem.from_uri(
            f"{path}?retry_limit_seconds={_GCS_RETRY_S}" if bounded else path
        )
    except (pa.ArrowException, OSError, ImportError) as error:
        raise DatasetError(f"cannot open {path}: {error}") from error
    return filesystem, root.rstrip("/")


def _read_run(filesystem: fs.FileSystem, path: str, root: str) -> RunRecord:
    files = (f"{root}/{layout.SUCCESS_FILE}", f"{root}/{layout.RUN_FILE}", root)
    success, run, folder = filesystem.get_file_info(list(files))
    if folder.type == fs.FileType.NotFound and "://" not in path:
        raise DatasetError(f"{path} does not exist")
    if folder.type == fs.FileType.File:
        raise DatasetError(f"{path} is a file; give the folder of the dataset")
    if success.type != fs.FileType.File or run.type != fs.FileType.File:
        raise DatasetError(
            f"{path} holds no finished dataset (no {layout.SUCCESS_FILE}); if a run was stopped "
            "there, start the same command again and it goes on where it stopped"
        )
    record = _read_record(filesystem, path, root)
    if not 0 < record.dimension <= _MAX_DIMENSION or record.counts.embeddings < 0:
        raise DatasetError(
            f"{path}/{layout.RUN_FILE} is damaged: it tells of {record.counts.embeddings} "
            f"embeddings of {record.dimension} numbers"
        )
    return record


def _read_record(filesystem: fs.FileSystem, path: str, root: str) -> RunRecord:
    """Read `run.json`, and check that `_SUCCESS` was written with it."""
    place = f"{path}/{layout.RUN_FILE}"
    for _ in range(2):  # An append may be published between the one and the other.
        success = read_start(filesystem, f"{root}/{layout.SUCCESS_FILE}")
        content = read_start(filesystem, f"{root}/{layout.RUN_FILE}")
        if success == layout.success_content(content):
            break
    return parse_record(content, success, place)


def parse_record(content: bytes, success: bytes, place: str) -> RunRecord:
    """Read the content of a `run.json`, and check that `_SUCCESS` was written with it.

    Args:
        content: of `run.json`.
        success: of `_SUCCESS`.
        place: names `run.json` in errors.

    Raises:
        DatasetError: if it was not, or `run.json` is damaged.
    """
    if success == layout.success_content(content):
        return RunRecord.from_json(content, place)
    if not success.strip():
        record = RunRecord.from_json(content, place)
        if record.settings.format_version < schema.FIRST_WITH_CHECKSUMS:
            return record
    raise DatasetError(
        f"{place} is damaged: its SHA-256 is not the one in {layout.SUCCESS_FILE}; restore both, "
        "or make the dataset anew"
    )


def read_start(filesystem: fs.FileSystem, path: str) -> bytes:
    """Return the content of a small file, or the start of one that is larger than any record."""
    with filesystem.open_input_stream(path) as stream:
        content: bytes = stream.read(MAX_BYTES + 1)
    return content


def list_parts(
    filesystem: fs.FileSystem, root: str, table: str, run: RunRecord
) -> tuple[Part, ...]:
    """List the parts of a table of a dataset, by name."""
    infos = filesystem.get_file_info(fs.FileSelector(f"{root}/{table}", allow_not_found=True))
    parts = [info for info in infos if info.path.endswith(layout.PART_SUFFIX)]
    for info in parts:
        if info.type != fs.FileType.File:  # To open a pipe would wait for ever.
            raise DatasetError(f"{info.path} is no file; move it away")
    return tuple(
        Part(info.path, filesystem, info.size, run.settings.fingerprint, table, run.dimension)
        for info in sorted(parts, key=lambda info: info.path)
    )
