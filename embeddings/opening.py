"""Opening datasets: what is there, whether it is finished, whether several fit together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import pyarrow as pa
from pyarrow import fs

from beamvec.embeddings import layout
from beamvec.embeddings.dataset import Dataset
from beamvec.embeddings.parts import Part
from beamvec.embeddings.run_record import RunRecord
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
        "dimension": str(dataset.dimension),
        "resize": settings.resize,
        "precision": settings.precision,
        "engine": settings.engine,
        "columns": dataset.schema,
    }


def _open_one(path: str) -> Dataset:
    filesystem, root = _resolve(path)
    try:
        run = _read_run(filesystem, path, root)
        fingerprint = run.settings.fingerprint
        embedding_files, failure_files = (
            _list_parts(filesystem, f"{root}/{table}", fingerprint)
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


def _resolve(path: str) -> tuple[fs.FileSystem, str]:
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
    with filesystem.open_input_stream(run.path) as stream:
        record = RunRecord.from_json(stream.read(), f"{path}/{layout.RUN_FILE}")
    if not 0 < record.dimension <= _MAX_DIMENSION or record.counts.embeddings < 0:
        raise DatasetError(
            f"{path}/{layout.RUN_FILE} is damaged: it tells of {record.counts.embeddings} "
            f"embeddings of {record.dimension} numbers"
        )
    return record


def _list_parts(filesystem: fs.FileSystem, folder: str, fingerprint: str) -> tuple[Part, ...]:
    infos = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    parts = [info for info in infos if info.path.endswith(layout.PART_SUFFIX)]
    return tuple(
        Part(info.path, filesystem, info.size, fingerprint)
        for info in sorted(parts, key=lambda info: info.path)
    )
