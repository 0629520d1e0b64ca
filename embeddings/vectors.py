"""Arithmetic on rows of vectors, and making arrays of what callers give for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from beamvec.errors import ArgumentError


def row_lengths(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the length of each row of float32 [n, D], and 1 for rows of zeros.

    >>> row_lengths(np.array([[3, 4], [0, 0]], np.float32)).tolist()
    [5.0, 1.0]
    """
    lengths: npt.NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.where(lengths == 0, np.float32(1), lengths)


def can_multiply(vectors: npt.NDArray[np.float32]) -> bool:
    """Tell whether products of rows, and sums of them over all rows, are finite numbers.

    >>> can_multiply(np.array([[1, 2]], np.float32)), can_multiply(np.array([[np.nan]], np.float32))
    (True, False)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(row_lengths(vectors).max(initial=0) ** 2 * len(vectors)))


def unit_rows(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Divide each row of float32 [n, D] by its length; rows of zeros stay as they are."""
    units: npt.NDArray[np.float32] = vectors / row_lengths(vectors)[:, None]
    return units


def normalize_rows(vectors: npt.NDArray[np.float32]) -> None:
    """Do what `unit_rows` does, in place."""
    vectors /= row_lengths(vectors)[:, None]


def as_array(vectors: Any, name: str) -> npt.NDArray[Any]:
    """Return an array, memory map, tensor or list as an array of its own type, without a copy.

    Args:
        vectors: what the caller gave.
        name: what messages call it.

    Raises:
        ArgumentError: if it holds something else than real numbers.
    """
    try:
        array = np.asarray(vectors)
    except (TypeError, ValueError, RuntimeError) as error:  # Rows of several lengths, GPU tensors.
        raise ArgumentError(f"{name} cannot be made an array: {error}") from error
    # Of other objects, such as a path, numpy makes arrays of strings or of objects.
    if array.dtype.kind not in "fiu":
        raise ArgumentError(f"{name} is a {type(vectors).__name__}; it must be an array of numbers")
    return array


def as_matrix(vectors: Any, name: str) -> npt.NDArray[Any]:
    """Do what `as_array` does, for rows of vectors [n, D].

    >>> as_matrix([[1, 2], [3, 4]], "vectors").shape
    (2, 2)
    """
    array = as_array(vectors, name)
    if array.ndim != 2:
        raise ArgumentError(f"{name} is {list(array.shape)}; it must be [rows, dimension]")
    return array


def require_place(vectors: npt.NDArray[np.float32], shape: tuple[int, int]) -> None:
    """Raise if embeddings cannot be read straight into an array."""
    if not isinstance(vectors, np.ndarray):
        raise ArgumentError(f"out is a {type(vectors).__name__}; it must be a numpy array")
    fits = vectors.shape == shape and vectors.dtype == np.float32
    if not (fits and vectors.flags.c_contiguous and vectors.flags.writeable):
        raise ArgumentError(
            f"out is {vectors.dtype} {list(vectors.shape)}; it must be C-contiguous float32 "
            f"{list(shape)} that can be written"
        )
