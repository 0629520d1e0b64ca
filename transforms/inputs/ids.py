"""Ids that name images in the place of where they are: each has to be there, and once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import pyarrow as pa

from beamvec.errors import InputError

Batches = Callable[[], Iterator[pa.Array]]
"""Reads the ids, batch by batch, again at each call."""


def check_ids(path: str, column: str, read: Batches) -> None:
    """Check that ids are there, and no two of them equal.

    Of an id eight bytes are held, of a hash; those that seem to come twice are looked at again.

    Args:
        path: of the manifest.
        column: the column that holds the ids.
        read: reads them.

    Raises:
        InputError: if a row has none, or has that of another row.
    """
    hashes = np.fromiter(_hash_all(path, column, read), np.int64)
    distinct, counts = np.unique(hashes, return_counts=True)
    suspects = set(distinct[counts > 1].tolist())
    if not suspects:
        return
    found = (each for each in _texts(read) if _hash(each) in suspects)
    twice = [each for each, count in Counter(found).items() if count > 1]
    if twice:
        more = f", as {len(twice) - 1} more are" if len(twice) > 1 else ""
        raise InputError(
            f"`manifest={path}`: the id {twice[0]!r} in column {column!r} stands in several rows"
            f"{more}; an id names one image"
        )


def _hash_all(path: str, column: str, read: Batches) -> Iterator[int]:
    for row, each in enumerate(_texts(read), 1):
        if not each:
            raise InputError(
                f"`manifest={path}`: row {row} has no {column!r}, which names the image"
            )
        yield _hash(each)


def _texts(read: Batches) -> Iterator[str | None]:
    return chain.from_iterable(batch.cast(pa.string()).to_pylist() for batch in read())


def _hash(text: str | None) -> int:
    return hash(text)
