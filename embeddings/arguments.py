"""What callers name rows and columns by, checked: in this package, one string is a list of one."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beamvec.errors import ArgumentError, DatasetError

if TYPE_CHECKING:
    import pyarrow.compute as pc

# What Arrow says of an expression on a column that is not there.
_NO_MATCH = re.compile(r"No match for FieldRef\.Name\((.*?)\) in ")


def as_uris(uris: Any) -> list[str]:
    """Return the uris that a caller gave: one, or several as a list, an Arrow column and the like.

    Raises:
        ArgumentError: if they are neither strings nor paths.

    >>> as_uris("a.jpg"), as_uris(pa.array(["a.jpg", "b.jpg"]))
    (['a.jpg'], ['a.jpg', 'b.jpg'])
    """
    if isinstance(uris, (pa.Array, pa.ChunkedArray)):
        uris = uris.to_pylist()
    several = isinstance(uris, Iterable) and not isinstance(uris, (str, os.PathLike))
    names = list(uris) if several else [uris]
    try:
        return [uri if isinstance(uri, str) else _as_string(uri) for uri in names]
    except TypeError as error:
        raise ArgumentError(f"a uri must be a string: {error}") from error


def _as_string(path: Any) -> str:
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is {type(text).__name__}")
    return text


def as_columns(columns: Any, there: Sequence[str], what: str) -> list[str]:
    """Return the columns that a caller asked for, one name or several, each once.

    Args:
        columns: what was given.
        there: the columns that there are.
        what: what has them, for messages.

    Raises:
        DatasetError: if one of them is not there.

    >>> as_columns("label", ["uri", "label"], "the dataset")
    ['label']
    """
    if not isinstance(columns, Iterable):
        raise ArgumentError(f"columns is {columns!r}; it must be a list of names")
    names = [columns] if isinstance(columns, str) else list(columns)
    for name in names:
        if name not in there:
            refuse_column(name, there, what)
    return list(dict.fromkeys(names))


def refuse_column(name: Any, there: Sequence[str], what: str) -> NoReturn:
    """Raise `DatasetError` for a column that is not there, with the nearest and all there are."""
    nearest = difflib.get_close_matches(str(name), there, 1)
    hint = f" (did you mean {nearest[0]}?)" if nearest else ""
    raise DatasetError(f"{what} has no column {name}{hint}; its columns are {', '.join(there)}")


def as_row_numbers(rows: Any, count: int) -> npt.NDArray[np.int64]:
    """Return the numbers of rows that a caller gave, one or several, as int64 [n].

    Raises:
        ArgumentError: if they are no whole numbers, or not in one dimension.
        IndexError: if there is no such row.

    >>> as_row_numbers(range(3), count=9), as_row_numbers(8, count=9)
    (array([0, 1, 2]), array([8]))
    """
    # numpy makes no array of the numbers of a generator or a set, but one of the object itself.
    listed = list(rows) if isinstance(rows, Iterable) and not hasattr(rows, "__array__") else rows
    try:
        numbers = np.atleast_1d(np.asarray(listed))
    except ValueError as error:
        raise ArgumentError(f"rows cannot be made an array: {error}") from error
    if numbers.size == 0 and numbers.ndim == 1:
        return np.empty(0, np.int64)
    # A mask would else be taken for the numbers 0 and 1.
    if numbers.dtype.kind not in "iu":
        raise ArgumentError(
            f"rows is {numbers.dtype} {list(numbers.shape)}; it must be numbers of rows"
            + (", such as np.flatnonzero(mask)" if numbers.dtype.kind == "b" else "")
        )
    if numbers.ndim != 1:
        raise ArgumentError(
            f"rows is {list(numbers.shape)}; it must have one dimension, such as rows[0]"
        )
    if numbers.min() < 0 or numbers.max() >= count:
        raise IndexError(f"rows go from 0 to {count - 1}")
    return numbers.astype(np.int64)


def require_condition(where: pc.Expression, columns: pa.Schema, what: str) -> None:
    """Check that an expression tells rows apart by columns that there are.

    Args:
        where: the expression.
        columns: the columns and their types.
        what: what has them, for messages.

    Raises:
        ArgumentError: if it is no expression of pyarrow.
        DatasetError: if a column is not there, or has a type that the expression cannot take.
    """
    import pyarrow.compute as pc

    if not isinstance(where, pc.Expression):
        raise ArgumentError(
            f"where is a {type(where).__name__}; it must be an expression of pyarrow.compute, such "
            'as pc.field("width") > 640'
        )
    try:
        columns.empty_table().filter(where)
    except pa.ArrowException as error:
        missing = _NO_MATCH.search(str(error))
        if missing:
            refuse_column(missing[1], columns.names, what)
        reason = str(error).splitlines()[0]
        raise DatasetError(f"{what} cannot be filtered by {where}: {reason}") from error
