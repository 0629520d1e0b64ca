"""Looking at what a dataset holds, and checking all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beamvec.embeddings import layout, schema
from beamvec.embeddings.checksums import check_names, check_part
from beamvec.embeddings.counted import counted
from beamvec.embeddings.dataset import Dataset
from beamvec.embeddings.opening import list_parts, open_dataset, resolve
from beamvec.embeddings.parts import Part, RowGroup, list_row_groups
from beamvec.embeddings.threads import map_in_order
from beamvec.errors import DatasetError

_STAGES = ("read", "decode", "infer")
_NO_URIS = pa.chunked_array([], pa.string())

_Found: TypeAlias = tuple[list[str], pa.ChunkedArray]
"""What is wrong with a file, and the uris that could be read."""


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

    Checked are the size and the SHA-256 of all files, as far as `run.json` has them, and that none
    is missing or added; the checksums of all pages; that each embedding has D finite numbers; that
    the files have one schema and belong to the model; that uris are sorted within a part, come once
    and are those in `_inputs`; that hashes, sizes and stages can be; and that counts add up to what
    `run.json` tells. That `run.json` belongs to `_SUCCESS` was checked when it was opened.

    Returns:
        What is wrong, a line each; nothing for a sound dataset.
    """
    if len(dataset.paths) > 1:
        return [problem for path in dataset.paths for problem in check_dataset(open_dataset(path))]
    (path,) = dataset.paths
    problems = [*check_names(path, dataset.run), *_check_columns(dataset)]
    if problems:
        return problems  # What holds for each file and column cannot be asked of others.
    filesystem, root = resolve(path)
    inputs = {
        _name(part): part for part in list_parts(filesystem, root, layout.INPUTS_DIR, dataset.run)
    }
    uris: list[pa.ChunkedArray] = []
    rows = []
    for files, check in [
        (dataset.embedding_files, lambda part: _check_embeddings(part, dataset, inputs)),
        (dataset.failure_files, lambda part: _check_failures(part, dataset)),
    ]:
        count = 0
        for found, names in map_in_order(check, files, files):
            problems += found
            uris.append(names)
            count += len(names)
        rows.append(count)
    problems += _check_counts(dataset, *rows)
    total = pa.chunked_array([chunk for names in uris for chunk in names.chunks], pa.string())
    twice = len(total) - pc.count_distinct(total).as_py()
    if twice:
        problems.append(f"{dataset}: {counted(twice, 'row')} with a uri that another row has")
    return problems


def _name(part: Part) -> str:
    return part.path.rpartition("/")[2]


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
    counts = dataset.run.counts
    by_kind = sum(each.count for each in dataset.run.failures)
    for name, found, told in [
        ("embeddings", embeddings, counts.embeddings),
        ("failures", failures, counts.failures),
        ("failures", failures, by_kind),
    ]:
        if found != told:
            rows = counted(found, "row")
            yield f"{dataset}: {rows} of {name}, {layout.RUN_FILE} tells of {told:,}"
    if counts.inputs != counts.accounted:
        inputs = counted(counts.inputs, "input")
        yield f"{dataset}: {inputs}, but {counts.accounted:,} accounted for"


def _check_embeddings(part: Part, dataset: Dataset, inputs: Mapping[str, Part]) -> _Found:
    """Check an `embeddings` part, and the part of `_inputs` that was written with it."""

    def check(table: pa.Table, group: RowGroup) -> Iterator[str]:
        vectors = np.empty((table.num_rows, dataset.dimension), np.float32)
        group.copy_vectors(table, vectors)
        bad = int((~np.isfinite(vectors).all(axis=1)).sum())
        if bad:
            yield f"{counted(bad, 'embedding')} with NaN or infinity"
        are_hashes = pc.match_substring_regex(table[schema.SHA256], "^[0-9a-f]{64}$")
        if not pc.all(are_hashes, min_count=0).as_py():
            yield "hashes that are no SHA-256"
        for name in (schema.WIDTH, schema.HEIGHT, schema.SIZE_BYTES):
            if pc.any(pc.less(table[name], 1)).as_py():
                yield f"{name} that cannot be"

    problems, uris = _check_part(part, dataset, dataset.schema, check)
    if _name(part) not in inputs:
        return [*problems, f"{dataset}/{layout.INPUTS_DIR}/{_name(part)} is missing"], uris
    known = None if problems else uris
    return [*problems, *_check_inputs(inputs[_name(part)], dataset, known)], uris


def _check_inputs(part: Part, dataset: Dataset, uris: pa.ChunkedArray | None) -> list[str]:
    """Check a part of `_inputs`, against the uris that were embedded as far as they are known."""
    problems = list(check_part(part, dataset.run))
    try:
        if part.read_schema().remove_metadata() != schema.table_schema(layout.INPUTS_DIR):
            return [*problems, f"{part.path}: other columns than those of {layout.INPUTS_DIR}"]
        found = part.read()[schema.URI]
        if uris is not None and not found.equals(uris):
            problems.append(f"{part.path}: other uris than in {layout.EMBEDDINGS_DIR}")
    except DatasetError as error:
        problems.append(str(error))
    return problems


def _check_failures(part: Part, dataset: Dataset) -> _Found:
    def check(table: pa.Table, _: RowGroup) -> Iterator[str]:
        if not pc.all(pc.is_in(table[schema.STAGE], pa.array(_STAGES)), min_count=0).as_py():
            yield f"stages other than {', '.join(_STAGES)}"

    return _check_part(part, dataset, dataset.failure_files[0].read_schema(), check)


def _is_sorted(uris: list[str]) -> bool:
    """Tell whether uris are in order: by themselves, or by the containers that they are in."""
    containers = [uri.partition("#")[0] + "#" for uri in uris]
    return uris == sorted(uris) or containers == sorted(containers)


def _check_part(
    part: Part,
    dataset: Dataset,
    target: pa.Schema,
    check: Callable[[pa.Table, RowGroup], Iterator[str]],
) -> _Found:
    problems = list(check_part(part, dataset.run))
    uris: list[pa.Array] = []
    try:
        if not part.read_schema().equals(target):
            return [*problems, f"{part.path}: other columns than the first file"], _NO_URIS
        for group in list_row_groups([part]):
            table = group.read(target.names, verify=True)
            problems += [
                f"{part.path}: row group {group.index}: {problem}"
                for problem in check(table, group)
            ]
            uris += table[schema.URI].chunks
    except DatasetError as error:
        problems.append(str(error))
        return problems, pa.chunked_array(uris, pa.string())
    names = pa.chunked_array(uris, pa.string())
    if not _is_sorted(names.to_pylist()):
        problems.append(f"{part.path}: rows that are not sorted by uri")
    return problems, names
