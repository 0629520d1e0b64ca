"""Looking at what a dataset holds, and checking all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beamvec.embeddings import layout, schema
from beamvec.embeddings.dataset import Dataset
from beamvec.embeddings.parts import Part, RowGroup, list_row_groups, map_in_order
from beamvec.errors import DatasetError

_STAGES = ("read", "decode", "infer")
_NO_URIS = pa.chunked_array([], pa.string())


@dataclass(frozen=True)
class Contents:
    """What some or all rows hold.

    Attributes:
        rows: how many were looked at.
        norms: their least, mean and greatest Euclidean length; NaN where there are no rows.
        not_finite: rows with a NaN or an infinity.
        copies: rows whose image has the same bytes as one before.
    """

    rows: int
    norms: tuple[float, float, float]
    not_finite: int
    copies: int


def examine(dataset: Dataset, max_groups: int | None = None) -> Contents:
    """Look at the rows of a dataset.

    Args:
        dataset: what to look at.
        max_groups: row groups to read, spread over the dataset; None reads all.
    """
    groups = dataset.row_groups
    if max_groups is not None and len(groups) > max_groups:
        groups = tuple(groups[i] for i in np.linspace(0, len(groups) - 1, max_groups).astype(int))

    def look(group: RowGroup) -> tuple[npt.NDArray[np.float64], pa.ChunkedArray]:
        table = group.read([schema.EMBEDDING, schema.SHA256])
        vectors = np.empty((table.num_rows, dataset.dimension), np.float32)
        group.copy_vectors(table, vectors)
        return np.linalg.norm(vectors.astype(np.float64), axis=1), table[schema.SHA256]

    looked = list(map_in_order(look, groups, dataset.embedding_files))
    if not looked:
        return Contents(0, (np.nan, np.nan, np.nan), 0, 0)
    norms = np.concatenate([norms for norms, _ in looked])
    hashes = pa.chunked_array([chunk for _, hashes in looked for chunk in hashes.chunks])
    finite = norms[np.isfinite(norms)]
    span = (finite.min(), finite.mean(), finite.max()) if len(finite) else (np.nan,) * 3
    return Contents(
        rows=len(norms),
        norms=(float(span[0]), float(span[1]), float(span[2])),
        not_finite=len(norms) - len(finite),
        copies=len(hashes) - pc.count_distinct(hashes).as_py(),
    )


def check_dataset(dataset: Dataset) -> list[str]:
    """Read everything in a dataset and check it.

    Checked are the checksums of all pages; that each embedding has D finite numbers; that the files
    have one schema and belong to the model; that uris are sorted within a part and come once; that
    hashes, sizes and stages can be; and that counts add up to what `run.json` tells.

    Returns:
        What is wrong, a line each; nothing for a sound dataset.
    """
    problems = [*_check_columns(dataset)]
    if problems:
        return problems  # What holds for each column cannot be asked of others.
    uris: list[pa.ChunkedArray] = []
    rows = []
    for files, check in [
        (dataset.embedding_files, _check_embeddings),
        (dataset.failure_files, _check_failures),
    ]:
        count = 0
        for found, names in map_in_order(lambda f, c=check: c(f, dataset), files, files):  # type: ignore[misc]
            problems += found
            uris.append(names)
            count += len(names)
        rows.append(count)
    problems += _check_counts(dataset, *rows)
    total = pa.chunked_array([chunk for names in uris for chunk in names.chunks], pa.string())
    twice = len(total) - pc.count_distinct(total).as_py()
    if twice and len(dataset.paths) == 1:
        problems.append(f"{dataset}: {twice:,} rows have a uri that another row has")
    return problems


def _check_columns(dataset: Dataset) -> Iterator[str]:
    for table, files in [
        (layout.EMBEDDINGS_DIR, dataset.embedding_files),
        (layout.FAILURES_DIR, dataset.failure_files),
    ]:
        try:
            found = files[0].read_schema()
        except DatasetError as error:
            yield str(error)
            continue
        for field in schema.table_schema(table):
            # Earlier versions wrote embeddings whose elements may be null, by their type.
            kind = found.field(field.name).type if field.name in found.names else None
            if kind is None or not (kind == field.type or field.name == schema.EMBEDDING):
                yield f"{files[0].path}: the column {field.name} is {kind}, not {field.type}"


def _check_counts(dataset: Dataset, embeddings: int, failures: int) -> Iterator[str]:
    told_failures = sum(run.counts.failures for run in dataset.runs)
    for name, found, told in [
        ("embeddings", embeddings, len(dataset)),
        ("failures", failures, told_failures),
    ]:
        if found != told:
            yield f"{dataset}: {found:,} rows of {name}, {layout.RUN_FILE} tells of {told:,}"
    for path, run in zip(dataset.paths, dataset.runs, strict=True):
        counts = run.counts
        if counts.inputs != counts.accounted:
            yield f"{path}: {counts.inputs:,} inputs, but {counts.accounted:,} accounted for"


def _check_embeddings(part: Part, dataset: Dataset) -> tuple[list[str], pa.ChunkedArray]:
    def check(table: pa.Table, group: RowGroup) -> Iterator[str]:
        vectors = np.empty((table.num_rows, dataset.dimension), np.float32)
        group.copy_vectors(table, vectors)
        bad = int((~np.isfinite(vectors).all(axis=1)).sum())
        if bad:
            yield f"{bad:,} embeddings with NaN or infinity"
        if not pc.all(pc.match_substring_regex(table[schema.SHA256], "^[0-9a-f]{64}$")).as_py():
            yield "hashes that are no SHA-256"
        for name in (schema.WIDTH, schema.HEIGHT, schema.SIZE_BYTES):
            if table[name].null_count or pc.any(pc.less(table[name], 1)).as_py():
                yield f"{name} that cannot be"

    return _check_part(part, dataset.schema, check)


def _check_failures(part: Part, dataset: Dataset) -> tuple[list[str], pa.ChunkedArray]:
    def check(table: pa.Table, _: RowGroup) -> Iterator[str]:
        if not pc.all(pc.is_in(table[schema.STAGE], pa.array(_STAGES))).as_py():
            yield f"stages other than {', '.join(_STAGES)}"

    return _check_part(part, dataset.failure_files[0].read_schema(), check)


def _check_part(
    part: Part, target: pa.Schema, check: Callable[[pa.Table, RowGroup], Iterator[str]]
) -> tuple[list[str], pa.ChunkedArray]:
    """Return what is wrong with a file, and the uris that could be read."""
    problems: list[str] = []
    uris: list[pa.Array] = []
    try:
        if not part.read_schema().equals(target):
            return _in_file(part, ["other columns than the first file"]), _NO_URIS
        for group in list_row_groups([part]):
            table = group.read(target.names, verify=True)
            table.validate(full=True)
            if table[schema.URI].null_count:
                return _in_file(part, ["rows without a uri"]), _NO_URIS
            problems += [f"row group {group.index}: {problem}" for problem in check(table, group)]
            uris += table[schema.URI].chunks
    except pa.ArrowInvalid as error:
        return _in_file(part, [*problems, f"values that cannot be: {error}"]), _NO_URIS
    except DatasetError as error:
        return [*_in_file(part, problems), str(error)], pa.chunked_array(uris, pa.string())
    names = pa.chunked_array(uris, pa.string())
    if names.to_pylist() != sorted(names.to_pylist()):
        problems.append("rows that are not sorted by uri")
    return _in_file(part, problems), names


def _in_file(part: Part, problems: list[str]) -> list[str]:
    return [f"{part.path}: {problem}" for problem in problems]
