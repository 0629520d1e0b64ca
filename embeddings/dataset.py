"""Reading a dataset: its counts, its model and its vectors, with numpy and pyarrow only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from embeddings import schema


class DatasetError(ValueError):
    """A folder is no dataset, or not a finished one; the message says which and what to do."""


@dataclass(frozen=True)
class Dataset:
    """A finished dataset.

    Attributes:
        path: the dataset's folder, as given.
        run: the content of `run.json`: settings, model, versions, counts, timings.
        embedding_files: the `embeddings` parts, in order, as paths of `filesystem`.
        failure_files: the `failures` parts, in order, as paths of `filesystem`.
        filesystem: where the files are.
    """

    path: str
    run: dict[str, Any]
    embedding_files: tuple[str, ...]
    failure_files: tuple[str, ...]
    filesystem: fs.FileSystem

    def read_vectors(self) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Read all embeddings, sorted by uri within a part, parts in order.

        Returns:
            The uris, a list of N, and the embeddings, float32 [N, D].
        """
        table = self.read_embeddings([schema.URI, schema.EMBEDDING])
        dimension = self.run["model"]["dimension"]
        chunks = [np.asarray(chunk.flatten()) for chunk in table[schema.EMBEDDING].chunks]
        values = np.concatenate(chunks) if chunks else np.empty(0, np.float32)
        return table[schema.URI].to_pylist(), values.reshape(-1, dimension)

    def read_embeddings(self, columns: list[str] | None = None) -> pa.Table:
        """Read the `embeddings` files, or some columns of them, in part order."""
        return self._read(self.embedding_files, columns)

    def read_failures(self, columns: list[str] | None = None) -> pa.Table:
        """Read the `failures` files, or some columns of them, in part order."""
        return self._read(self.failure_files, columns)

    def size_bytes(self, files: tuple[str, ...]) -> int:
        """Return the size of some of the dataset's files together."""
        return sum(info.size for info in self.filesystem.get_file_info(list(files)))

    def _read(self, files: tuple[str, ...], columns: list[str] | None) -> pa.Table:
        tables = [
            pq.read_table(file, columns=columns, filesystem=self.filesystem) for file in files
        ]
        return pa.concat_tables(tables)


def open_dataset(path: str) -> Dataset:
    """Open a finished dataset.

    Args:
        path: a folder, or a URI of one that pyarrow has a filesystem for (s3://, gs://).

    Raises:
        DatasetError: if there is no dataset, or it is not finished.
    """
    filesystem, root = _resolve(path)
    try:
        return Dataset(
            path=path,
            run=_read_run(filesystem, path, root),
            embedding_files=_parts(filesystem, f"{root}/{schema.EMBEDDINGS_DIR}"),
            failure_files=_parts(filesystem, f"{root}/{schema.FAILURES_DIR}"),
            filesystem=filesystem,
        )
    except OSError as error:
        raise DatasetError(f"cannot open {path}: {error}") from error


def _resolve(path: str) -> tuple[fs.FileSystem, str]:
    if "://" not in path:
        return fs.LocalFileSystem(), path.rstrip("/") or "/"
    try:
        filesystem, root = fs.FileSystem.from_uri(path)
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


def _parts(filesystem: fs.FileSystem, folder: str) -> tuple[str, ...]:
    infos = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    return tuple(sorted(info.path for info in infos if info.path.endswith(".parquet")))
