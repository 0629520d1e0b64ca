"""Nearest neighbours by cosine, exact, in blocks, on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from embeddings.dataset import Dataset
from embeddings.parts import RowGroup, map_in_order

_BLOCK_ROWS = 4096


class Matches(NamedTuple):
    """What was found for each of q queries, the nearest first.

    Attributes:
        rows: int64 [q, k], numbers of rows.
        cosines: float32 [q, k], in [-1, 1].
    """

    rows: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]


def search(
    source: Dataset | npt.NDArray[np.float32], queries: npt.NDArray[np.float32], k: int = 10
) -> Matches:
    """Find the rows with the largest cosines to some queries, comparing with every row.

    Memory holds some blocks of 1,024 to 4,096 rows for each core, whatever the number of rows. Of
    equal cosines the row with the lower number comes first.

    Args:
        source: a dataset, which is read through once, or an array or memory map, float32 [N, D].
        queries: float32 [q, D]. A row of zeros has the cosine 0 to all.
        k: how many; fewer are found where there are fewer rows.

    Raises:
        ValueError: if `queries` has another shape, or k is less than 1.

    >>> vectors = np.array([[1, 0], [0, 2], [3, 3]], np.float32)
    >>> search(vectors, vectors[:1], k=2).rows.tolist()
    [[0, 2]]
    """
    dimension = source.dimension if isinstance(source, Dataset) else source.shape[1]
    if queries.ndim != 2 or queries.shape[1] != dimension:
        raise ValueError(f"queries are {list(queries.shape)}, they must be [q, {dimension}]")
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    units = unit_rows(queries)
    best = Matches(np.empty((len(units), 0), np.int64), np.empty((len(units), 0), np.float32))
    for start, cosines in _compare(source, units):
        best = _merge(best, start, cosines, k)
    return best


def unit_rows(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Divide each row of float32 [n, D] by its length; rows of zeros stay as they are."""
    units: npt.NDArray[np.float32] = vectors / row_lengths(vectors)[:, None]
    return units


def row_lengths(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the length of each row of float32 [n, D], and 1 for rows of zeros."""
    lengths: npt.NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.where(lengths > 0, lengths, np.float32(1))


def _compare(
    source: Dataset | npt.NDArray[np.float32], units: npt.NDArray[np.float32]
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yield the number of each block's first row, and the cosines of the block, [q, rows]."""

    def compare(block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        cosines: npt.NDArray[np.float32] = (block @ units.T).T / row_lengths(block)
        return cosines

    def compare_group(group: RowGroup) -> tuple[int, npt.NDArray[np.float32]]:
        block = np.empty((group.stop - group.start, units.shape[1]), np.float32)
        group.read_vectors(block)
        return group.start, compare(block)

    def compare_rows(start: int) -> tuple[int, npt.NDArray[np.float32]]:
        return start, compare(source[start : start + _BLOCK_ROWS])  # type: ignore[index]

    if isinstance(source, Dataset):
        return map_in_order(compare_group, source.row_groups, source.embedding_files)
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
