"""Opening datasets: what is there, whether it is finished, whether several fit together."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from pyarrow import fs

from embeddings import schema
from embeddings.dataset import Dataset
from embeddings.parts import DatasetError, Part

_GCS_RETRY_S = 20
"""How long a store may not answer. Arrow's own limit is 15 minutes, in silence."""


def open_dataset(path: str, *more: str) -> Dataset:
    """Open a finished dataset, or several of the same model and settings as one.

    Args:
        path: a folder, or a URI of one that pyarrow has a filesystem for (s3://, gs://).
        more: other datasets, whose rows follow.

    Raises:
        DatasetError: if there is no dataset, it is not finished, or they do not fit together.
    """
    datasets = [_open_one(each) for each in (path, *more)]
    first = datasets[0]
    for other in datasets[1:]:
        _require_same(first, other)
    return Dataset(
        paths=tuple(str(dataset) for dataset in datasets),
        runs=tuple(dataset.run for dataset in datasets),
        embedding_files=tuple(file for dataset in datasets for file in dataset.embedding_files),
        failure_files=tuple(file for dataset in datasets for file in dataset.failure_files),
    )


def _require_same(first: Dataset, other: Dataset) -> None:
    """Raise if the embeddings of two datasets cannot be compared."""
    ours = {"model": first.model["fingerprint"], **first.settings, "columns": first.schema}
    theirs = {"model": other.model["fingerprint"], **other.settings, "columns": other.schema}
    for name, value in ours.items():
        if theirs[name] != value:
            between = f": {value} and {theirs[name]}" if isinstance(value, str) else ""
            raise DatasetError(
                f"{first} and {other} cannot be read as one, their {name} differ{between}"
            )


def _open_one(path: str) -> Dataset:
    filesystem, root = _resolve(path)
    try:
        run = _read_run(filesystem, path, root)
        fingerprint = run["model"]["fingerprint"]
        embedding_files, failure_files = (
            _list_parts(filesystem, f"{root}/{table}", fingerprint)
            for table in (schema.EMBEDDINGS_DIR, schema.FAILURES_DIR)
        )
    except OSError as error:
        raise DatasetError(f"cannot open {path}: {error}") from error
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{path}/{schema.RUN_FILE} is damaged: {error} is missing") from error
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
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"cannot open {path}: {error}") from error
    return filesystem, root.rstrip("/")


def _read_run(filesystem: fs.FileSystem, path: str, root: str) -> dict[str, Any]:
    files = (f"{root}/{schema.SUCCESS_FILE}", f"{root}/{schema.RUN_FILE}", root)
    success, run, folder = filesystem.get_file_info(list(files))
    if folder.type == fs.FileType.NotFound and "://" not in path:
        raise DatasetError(f"{path} does not exist")
    if success.type != fs.FileType.File or run.type != fs.FileType.File:
        raise DatasetError(
            f"{path} holds no finished dataset (no {schema.SUCCESS_FILE}); if a run was stopped "
            "there, start the same command again and it goes on where it stopped"
        )
    with filesystem.open_input_stream(run.path) as stream:
        try:
            content: dict[str, Any] = json.loads(stream.read())
        except ValueError as error:
            raise DatasetError(f"{run.path} is damaged: {error}") from error
    return content


def _list_parts(filesystem: fs.FileSystem, folder: str, fingerprint: str) -> tuple[Part, ...]:
    infos = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    parts = [info for info in infos if info.path.endswith(".parquet")]
    return tuple(
        Part(info.path, filesystem, info.size, fingerprint)
        for info in sorted(parts, key=lambda info: info.path)
    )
