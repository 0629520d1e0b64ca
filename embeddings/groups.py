"""Groups of images that are the same or nearly so, without comparing all pairs at full length."""

from __future__ import annotations

import threading
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from beamvec.embeddings.dataset import Dataset
from beamvec.embeddings.threads import map_in_order
from beamvec.embeddings.vectors import as_matrix, row_lengths, unit_rows
from beamvec.errors import ArgumentError

_Pairs: TypeAlias = npt.NDArray[np.int64]

_AXES = 128
_SAMPLE_ROWS = 8192
_TILE_ROWS = 4096
_CHECKED_PAIRS = 4096
_SLACK = 1e-4
"""What rounding of float32 may take from a bound."""


def find_groups(
    vectors: npt.ArrayLike,
    threshold: float,
    same_as: npt.NDArray[np.int64] | None = None,
) -> list[list[int]]:
    """Group the rows that are connected by cosines of at least a threshold.

    The result is exact. Each row is turned into its 128 largest principal components and the length
    of what is left; by Cauchy and Schwarz, the product of two such rows is never less than their
    cosine, so only pairs where it reaches the threshold are compared at full length. Memory holds
    129 numbers a row, and for each core a tile of 4,096 x 4,096 pairs.

    Args:
        vectors: [N, D], an array or a memory map; of a dataset, what `read_vectors` gives. Other
            numbers than float32 are copied as float32.
        threshold: in (0, 1].
        same_as: int64 [N], for each row the first row that it is known to equal, or itself; such
            rows are in one group, and only the first of them is compared with others.

    Returns:
        Groups of two or more rows, each in ascending order, ordered by their first row.

    Raises:
        ArgumentError: if the threshold is out of range, or the arrays are something else.

    >>> find_groups(np.array([[1, 0], [0, 1], [2, 0.1]], np.float32), 0.99)
    [[0, 2]]
    """
    if not 0 < threshold <= 1:
        raise ArgumentError(f"the threshold is {threshold}; it must be in (0, 1]")
    vectors = _as_vectors(vectors)
    first_of = _as_first_rows(same_as, len(vectors))
    rows = np.flatnonzero(first_of == np.arange(len(vectors)))
    groups = _Groups(first_of)
    lengths = _lengths(vectors)
    if not np.isfinite(lengths).all():
        raise ArgumentError("vectors holds NaN, infinity or numbers too large to multiply")
    short = _shorten(vectors, lengths, rows)

    def compare(tile: tuple[int, int]) -> None:
        top, left = tile
        bounds = short[top : top + _TILE_ROWS] @ short[left : left + _TILE_ROWS].T
        first, second = np.nonzero(bounds >= threshold - _SLACK)
        pairs = groups.keep_apart(np.stack([rows[first + top], rows[second + left]], axis=1))
        for start in range(0, len(pairs), _CHECKED_PAIRS):
            # Most pairs of a large group are joined by others before their turn comes.
            some = groups.keep_apart(pairs[start : start + _CHECKED_PAIRS])
            groups.join(some[pair_cosines(vectors, lengths, some) >= threshold])

    starts = range(0, len(rows), _TILE_ROWS)
    for _ in map_in_order(
        compare, [(top, left) for top in starts for left in starts if left >= top]
    ):
        pass
    return groups.as_lists()


def _as_vectors(vectors: Any) -> npt.NDArray[np.float32]:
    if isinstance(vectors, Dataset):
        raise ArgumentError("vectors is a Dataset; give what its read_vectors() returns")
    return as_matrix(vectors, "vectors").astype(np.float32, copy=False)


def _as_first_rows(same_as: Any, rows: int) -> npt.NDArray[np.int64]:
    """Return a copy of `same_as`, see `find_groups`, after a look at whether it can be."""
    own = np.arange(rows)
    if same_as is None:
        return own
    first = np.array(same_as)
    if first.shape != own.shape or not (first.dtype.kind in "iu" or not rows):
        raise ArgumentError(
            f"same_as is {first.dtype} {list(first.shape)}; it must be int64 [{rows}]"
        )
    if ((first < 0) | (first > own)).any() or (first[first] != first).any():
        raise ArgumentError("same_as must name, for each row, the first of the rows that are equal")
    return first.astype(np.int64)


def _lengths(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    blocks = (slice(start, start + _TILE_ROWS) for start in range(0, len(vectors), _TILE_ROWS))
    lengths = [row_lengths(vectors[block]) for block in blocks]
    return np.concatenate(lengths) if lengths else np.empty(0, np.float32)


def _shorten(
    vectors: npt.NDArray[np.float32],
    lengths: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Return float32 [rows, axes + 1] whose products are at least the cosines of some rows."""
    axes = _principal_axes(vectors)
    short = np.empty((len(rows), axes.shape[1] + 1), np.float32)
    for start in range(0, len(rows), _TILE_ROWS):
        block = slice(start, start + _TILE_ROWS)
        units = vectors[rows[block]] / lengths[rows[block], None]
        short[block, :-1] = units @ axes
        short[block, -1] = np.linalg.norm(units - short[block, :-1] @ axes.T, axis=1)
    return short


def _principal_axes(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return orthonormal axes, [D, axes], that hold most of the rows' lengths."""
    step = max(1, len(vectors) // _SAMPLE_ROWS)
    units = unit_rows(vectors[::step][:_SAMPLE_ROWS]).astype(np.float64)
    if len(units) < units.shape[1]:  # Fewer rows than numbers: nothing of [D, D] is needed.
        axes = np.linalg.svd(units, full_matrices=False)[2][:_AXES].T
    else:
        axes = np.linalg.eigh(units.T @ units)[1][:, -_AXES:]
    largest: npt.NDArray[np.float32] = axes.astype(np.float32)
    return largest


def pair_cosines(
    vectors: npt.NDArray[np.float32], lengths: npt.NDArray[np.float32], pairs: _Pairs
) -> npt.NDArray[np.float32]:
    """Return the cosine of each pair of rows, the same whichever of them comes first.

    Args:
        vectors: float32 [N, D].
        lengths: float32 [N], of its rows, as `row_lengths` gives them.
        pairs: int64 [pairs, 2], numbers of rows.
    """
    first, second = pairs.T
    products = np.einsum("ij,ij->i", vectors[first], vectors[second])
    short, long = np.sort(lengths[pairs], axis=1).T
    cosines: npt.NDArray[np.float32] = products / short / long
    return cosines


class _Groups:
    """Disjoint sets of rows, for several threads; the root of each is its lowest row."""

    def __init__(self, parents: npt.NDArray[np.int64]):
        self._parents = parents
        self._lock = threading.Lock()

    def roots(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        while True:
            parents = self._parents[rows]
            if (parents == rows).all():
                return rows
            rows = parents

    def keep_apart(self, pairs: _Pairs) -> _Pairs:
        """Return the pairs whose rows are not in one set yet."""
        first, second = pairs.T
        return pairs[self.roots(first) != self.roots(second)]

    def join(self, pairs: _Pairs) -> None:
        with self._lock:
            for pair in pairs:
                low, high = np.sort(self.roots(pair))
                self._parents[high] = low
            if len(pairs):
                self._parents = self.roots(self._parents)  # Keeps the ways short.

    def as_lists(self) -> list[list[int]]:
        roots = self.roots(self._parents)
        order = np.argsort(roots, kind="stable")
        cuts = np.flatnonzero(np.diff(roots[order])) + 1
        return [rows.tolist() for rows in np.split(order, cuts) if len(rows) > 1]
