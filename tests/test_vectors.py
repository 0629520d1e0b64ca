"""Arithmetic on rows of vectors, and what callers give for arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from beamvec.embeddings import vectors as module
from beamvec.errors import ArgumentError

ROWS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 6), st.integers(1, 5)),
    elements=st.floats(-1000, 1000, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3),
)


@given(ROWS)
def test_unit_rows_have_length_one_or_are_zeros(rows):
    units = module.unit_rows(rows)
    lengths = np.linalg.norm(units.astype(np.float64), axis=1)
    zeros = ~rows.any(axis=1)
    np.testing.assert_allclose(lengths, np.where(zeros, 0, 1), atol=1e-5)
    in_place = rows.copy()
    module.normalize_rows(in_place)
    np.testing.assert_array_equal(in_place, units)


@pytest.mark.parametrize("given_", [[[1, 2], [3]], "a path", [["a"]], None, [[1 + 2j]], [[True]]])
def test_what_holds_no_numbers_is_refused(given_):
    with pytest.raises(ArgumentError, match="vectors"):
        module.as_matrix(given_, "vectors")


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2)])
def test_what_are_no_rows_is_refused(shape):
    with pytest.raises(ArgumentError, match=r"\[rows, dimension\]"):
        module.as_matrix(np.zeros(shape), "vectors")


@pytest.mark.parametrize(
    "out",
    [
        [[0.0] * 3] * 2,
        np.empty((2, 3), np.float64),
        np.empty((3, 2), np.float32),
        np.empty((2, 6), np.float32)[:, ::2],
        np.broadcast_to(np.float32(0), (2, 3)),
    ],
)
def test_embeddings_go_straight_into_fitting_arrays_only(out):
    module.require_place(np.empty((2, 3), np.float32), (2, 3))
    with pytest.raises(ArgumentError, match="out is"):
        module.require_place(out, (2, 3))
