"""Nearest neighbours by cosine, exact, in blocks, on all cores."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from beamvec.embeddings.dataset import Dataset
from beamvec.embeddings.parts import RowGroup
from beamvec.embeddings.threads import map_in_order
from beamvec.embeddings.vectors import as_array, as_matrix, row_lengths, unit_rows
from beamvec.errors import ArgumentError

_BLOCK_ROWS = 4096


class Matches(NamedTuple):
    """What was found for each of q queries, the nearest first.

    Attributes:
        rows: int64 [q, k], numbers of rows.
        cosines: float32 [q, k], in [-1, 1]; -inf for rows that hold NaN or infinity.
    """

    rows: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]


def search(source: Dataset | npt.ArrayLike, queries: npt.ArrayLike, k: int = 10) -> Matches:
    """Find the rows with the largest cosines to some queries, comparing with every row.

    Memory holds some blocks of 1,024 to 4,096 rows for each core, whatever the number of rows. Of
    equal cosines the row with the lower number comes first.

    Args:
        source: a dataset, which is read through once, or an array or memory map [N, D].
        queries: [q, D], or [D] for one. A row of zeros has the cosine 0 to all. Queries and arrays
            of other numbers are computed with as float32.
        k: how many; fewer are found where there are fewer rows.

    Raises:
        ArgumentError: if `source` or `queries` are something else, or k is less than 1.

    >>> vectors = np.array([[1, 0], [0, 2], [3, 3]], np.float32)
    >>> search(vectors, vectors[:1], k=2).rows.tolist()
    [[0, 2]]
    """
    if operator.index(k) < 1:
        raise ArgumentError(f"k is {k}; it must be at least 1")
    rows = source if isinstance(source, Dataset) else as_matrix(source, "source")
    dimension = rows.dimension if isinstance(rows, Dataset) else rows.shape[1]
    units = unit_rows(_as_queries(queries, dimension))
    if not len(units):
        return _no_matches(0, min(k, len(rows)))
    best = _no_matches(len(units), 0)
    for start, cosines in _compare(rows, units):
        best = _merge(best, start, cosines, k)
    return best


def _no_matches(queries: int, k: int) -> Matches:
    return Matches(np.empty((queries, k), np.int64), np.empty((queries, k), np.float32))


def _as_queries(queries: Any, dimension: int) -> npt.NDArray[np.float32]:
    """Return what the caller gave as float32 [q, D]."""
    given = as_array(queries, "queries")
    found = given[None] if given.ndim == 1 else given
    if found.ndim != 2 or found.shape[1] != dimension:
        raise ArgumentError(
            f"queries is {list(given.shape)}; it must be [q, {dimension}] or [{dimension}]"
        )
    # Squares of small types overflow, and those of float64 may be infinite as float32.
    found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise ArgumentError("queries holds NaN or infinity")
    return found


def _compare(
    source: Dataset | npt.NDArray[Any], units: npt.NDArray[np.float32]
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yield the number of each block's first row, and the cosines of the block, [q, rows]."""

    def compare(block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with np.errstate(invalid="ignore", over="ignore"):
            cosines: npt.NDArray[np.float32] = (block @ units.T).T / row_lengths(block)
        # NaN is neither more nor less than others, and would be taken for the largest.
        cosines[np.isnan(cosines)] = -np.inf
        return cosines

    def compare_group(group: RowGroup) -> tuple[int, npt.NDArray[np.float32]]:
        block = np.empty((group.stop - group.start, units.shape[1]), np.float32)
        group.read_vectors(block)
        return group.start, compare(block)

    if isinstance(source, Dataset):
        return map_in_order(compare_group, source.row_groups, source.embedding_files)

    def compare_rows(start: int) -> tuple[int, npt.NDArray[np.float32]]:
        # Other types than float32 are slow to multiply, and the squares of small ones overflow.
        return start, compare(np.asarray(source[start : start + _BLOCK_ROWS], np.float32))

    return map_in_order(compare_rows, range(0, len(source), _BLOCK_ROWS))


def _merge(best: Matches, start: int, cosines: npt.NDArray[np.float32], k: int) -> Matches:
    """Return the k best of what was found and of a block."""
    found = [
        _select(best.rows[i], best.cosines[i], start, cosines[i], k) for i in range(len(cosines))
    ]
    return Matches(np.stack([rows for rows, _ in found]), np.stack([near for _, near in found]))


def _select(
    rows: npt.NDArray[np.int64],
    cosines: npt.NDArray[np.float32],
    start: int,
    block: npt.NDArray[np.float32],
    k: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    least = cosines[-1] if len(cosines) == k else -np.inf  # Later rows must have more than that.
    if len(block) > k:
        least = max(least, np.partition(block, -k)[-k])
    places = np.flatnonzero(block >= least)
    rows = np.concatenate([rows, places + start])
    cosines = np.concatenate([cosines, block[places]])
    order = np.lexsort((rows, -cosines))[:k]
    return rows[order], cosines[order]
