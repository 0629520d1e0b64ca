"""Which images of a group of duplicates to keep, so that none is lost without one like it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from beamvec.embeddings.groups import pair_cosines
from beamvec.embeddings.vectors import row_lengths, unit_rows
from beamvec.errors import ArgumentError

_BLOCK_ROWS = 1024
_ROUNDING = 1e-5
"""Further from the threshold than that, the order of a sum decides nothing."""


class Kept(NamedTuple):
    """What becomes of the rows of a group, in the order in which they were given.

    Attributes:
        rows: int64 [n], for each row the row that is kept in its stead; a kept row is its own.
        cosines: float32 [n], of each row and that one; 1 for a kept row.
    """

    rows: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]


def choose_kept(
    vectors: npt.NDArray[np.float32],
    order: Sequence[int],
    threshold: float,
    same_as: npt.NDArray[np.int64] | None = None,
) -> Kept:
    """Choose rows to keep, so that each other one has a kept row of at least a cosine.

    The rows of a group of `find_groups` hang together as a chain does: its ends may be far from
    each other. So they are taken one by one, the best first: a row is kept unless one that is kept
    already has a cosine of at least the threshold to it, or is equal; then the nearest of these
    stands for it.

    Args:
        vectors: float32 [N, D], of the whole dataset; an array or a memory map.
        order: the rows of the group, those best worth keeping first.
        threshold: in (0, 1].
        same_as: int64 [N], for each row the first row that it is known to equal, or itself.

    Raises:
        ArgumentError: if the threshold is out of range.

    >>> vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    >>> choose_kept(vectors, [1, 0, 2], 0.7).rows.tolist()
    [1, 1, 2]
    """
    if not 0 < threshold <= 1:
        raise ArgumentError(f"the threshold is {threshold}; it must be in (0, 1]")
    rows = np.asarray(order, np.int64)
    first_of = rows if same_as is None else same_as[rows]
    chosen = _Chosen(vectors, threshold)
    distinct, places = np.unique(first_of, return_index=True)
    for block in _blocks(np.sort(places)):
        chosen.add(rows[block])
    # Equal rows have the fate of the first of them.
    at = {int(first): int(rows[place]) for first, place in zip(distinct, places, strict=True)}
    fates = [chosen.fates[at[int(first)]] for first in first_of]
    return Kept(
        np.array([row for row, _ in fates], np.int64),
        np.array([cosine for _, cosine in fates], np.float32),
    )


def _blocks(places: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return [places[start : start + _BLOCK_ROWS] for start in range(0, len(places), _BLOCK_ROWS)]


class _Chosen:
    """The rows that are kept so far, and what became of each row."""

    def __init__(self, vectors: npt.NDArray[np.float32], threshold: float):
        self._vectors, self._threshold = vectors, threshold
        self._kept: list[int] = []
        self.fates: dict[int, tuple[int, float]] = {}

    def add(self, rows: npt.NDArray[np.int64]) -> None:
        """Take rows, the best first: those that are like a kept one, then the others in turn."""
        units = unit_rows(self._vectors[rows])
        nearest = np.full(len(rows), -1, np.int64)
        best = np.full(len(rows), -np.inf, np.float32)
        for block in _blocks(np.array(self._kept, np.int64)):
            cosines = units @ unit_rows(self._vectors[block]).T
            self._settle(cosines, rows, block)
            _improve(nearest, best, cosines, block)
        inside = units @ units.T
        self._settle(inside, rows, rows)
        for place, row in enumerate(rows):
            if best[place] >= self._threshold:
                self.fates[int(row)] = int(nearest[place]), float(min(best[place], 1))
                continue
            self._kept.append(int(row))
            self.fates[int(row)] = int(row), 1.0
            later = slice(place + 1, None)
            _improve(nearest[later], best[later], inside[later, place : place + 1], rows[[place]])

    def _settle(
        self,
        cosines: npt.NDArray[np.float32],
        rows: npt.NDArray[np.int64],
        others: npt.NDArray[np.int64],
    ) -> None:
        """Compute those near the threshold as `find_groups` does, so that both agree."""
        first, second = np.nonzero(np.abs(cosines - self._threshold) < _ROUNDING)
        for at in _blocks(np.arange(len(first))):
            pairs = np.stack([rows[first[at]], others[second[at]]], axis=1)
            used, places = np.unique(pairs, return_inverse=True)
            some = self._vectors[used]
            exact = pair_cosines(some, row_lengths(some), places.reshape(pairs.shape))
            cosines[first[at], second[at]] = exact


def _improve(
    nearest: npt.NDArray[np.int64],
    best: npt.NDArray[np.float32],
    cosines: npt.NDArray[np.float32],
    kept: npt.NDArray[np.int64],
) -> None:
    """Note, in place, the nearest of some kept rows where it is nearer than those before."""
    if not len(kept) or not len(nearest):
        return
    found = cosines.argmax(axis=1)
    values = cosines[np.arange(len(found)), found]
    nearer = values > best
    nearest[nearer], best[nearer] = kept[found[nearer]], values[nearer]
