"""Rows of a manifest that name the same image with different values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from beamvec.transforms.records.images import ImageRef


class Conflict(NamedTuple):
    """Two rows, counted from 1, that name an image with different values of the own columns."""

    uri: str
    rows: tuple[int, int]
    values: tuple[tuple[Any, ...], tuple[Any, ...]]


def find_conflict(
    hashes: Iterable[npt.NDArray[np.int64]], read: Callable[[], Iterator[ImageRef]]
) -> Conflict | None:
    """Return the first two rows that name the same image differently, None if there are none.

    It holds 8 bytes a row, and the rows that come twice.

    Args:
        hashes: Python's own of the uri of each row, int64 [n], in any order.
        read: starts to read the rows; that is done only if two have the same hash.

    >>> rows = [ImageRef("a", columns=(1,)), ImageRef("b"), ImageRef("a", columns=(2,))]
    >>> find_conflict([hash_uris([ref.uri for ref in rows])], lambda: iter(rows))
    Conflict(uri='a', rows=(1, 3), values=((1,), (2,)))
    """
    in_order = np.sort(np.concatenate([np.empty(0, np.int64), *hashes]))
    twice = set(in_order[1:][in_order[1:] == in_order[:-1]].tolist())
    first: dict[str, tuple[int, tuple[Any, ...]]] = {}
    for row, ref in enumerate(read() if twice else (), 1):
        if hash(ref.uri) in twice:
            before, values = first.setdefault(ref.uri, (row, ref.columns))
            if repr(values) != repr(ref.columns):  # NaN is like NaN here.
                return Conflict(ref.uri, (before, row), (values, ref.columns))
    return None


def hash_uris(uris: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the hash of each uri, int64 [n], the same within a process only."""
    return np.fromiter(map(hash, uris), np.int64, len(uris))
