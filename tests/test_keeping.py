"""What is kept of a group of duplicates: against a plain loop over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamvec.embeddings import find_groups, keeping
from beamvec.embeddings.keeping import choose_kept
from beamvec.errors import ArgumentError


def choose_slowly(vectors, order, threshold):
    """Keep rows by comparing each with all that are kept: the same by another way."""
    units = vectors.astype(np.float64)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-30)
    kept, chosen = [], []
    for row in order:
        cosines = units[kept] @ units[row]
        if len(kept) and cosines.max() >= threshold:
            chosen.append(kept[int(cosines.argmax())])
        else:
            kept.append(row)
            chosen.append(row)
    return chosen


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000), st.floats(0.5, 0.99))
def test_each_row_has_a_kept_one_that_is_near(count, seed, threshold):
    random = np.random.default_rng(seed)
    vectors = (random.normal(size=(count, 3)) + np.array([2, 0, 0])).astype(np.float32)
    order = random.permutation(count)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    if (np.abs(units @ units.T - threshold) < 1e-5).any():
        return  # Rounding decides.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "_BLOCK_ROWS", 7)
        rows, cosines = choose_kept(vectors, order, threshold)
    assert rows.tolist() == choose_slowly(vectors, order, threshold)
    expected = np.einsum("ij,ij->i", units[order], units[rows])
    assert cosines == pytest.approx(expected, abs=1e-5)
    assert (cosines >= threshold).all()


def test_equal_rows_share_their_fate_however_many_there_are():
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0.1]], np.float32)
    same_as = np.array([0, 0, 2, 2, 4])
    found = choose_kept(vectors, [4, 1, 0, 3, 2], 0.99, same_as)
    assert found.rows.tolist() == [4, 4, 4, 3, 3]
    assert found.cosines.tolist() == pytest.approx([1, 0.99504, 0.99504, 1, 1], abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_a_pair_at_the_threshold_itself_is_near(seed):
    vectors = np.random.default_rng(seed).normal(size=(2, 300)).astype(np.float32) + 1
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    cosine = float(np.float32(vectors[0].astype(np.float64) @ vectors[1] / lengths.prod()))
    for threshold in (np.nextafter(np.float32(cosine), np.float32(0)), cosine):
        kept = len(set(choose_kept(vectors, [1, 0], float(threshold)).rows.tolist()))
        assert (kept == 1) == bool(find_groups(vectors, float(threshold)))


@pytest.mark.parametrize("threshold", [0, 1.5])
def test_the_threshold_is_checked(threshold):
    with pytest.raises(ArgumentError, match=r"must be in \(0, 1\]"):
        choose_kept(np.ones((2, 2), np.float32), [0, 1], threshold)
