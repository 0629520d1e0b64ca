"""Groups of duplicates: against all pairs compared one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings import duplicates, find_groups


def connect(vectors, threshold):
    """Group rows by comparing all pairs: the same by another way."""
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    near = units @ units.T >= threshold
    groups, seen = [], set()
    for row in range(len(vectors)):
        reached, ahead = set(), [row]
        while ahead:
            at = ahead.pop()
            if at not in reached and at not in seen:
                reached.add(at)
                ahead += np.flatnonzero(near[at]).tolist()
        seen |= reached
        if len(reached) > 1:
            groups.append(sorted(reached))
    return groups


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 70), st.integers(0, 1000), st.floats(0.5, 0.999), st.integers(1, 6))
def test_groups_are_those_of_all_pairs(count, seed, threshold, axes):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(9, 6))
    vectors = centres[random.integers(0, 9, count)] + random.normal(0, 0.2, (count, 6))
    vectors = vectors.astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    if (np.abs(cosines - threshold) < 1e-5).any():
        return  # Rounding decides.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_TILE_ROWS", 16)
        patch.setattr(duplicates, "_CHECKED_PAIRS", 8)
        patch.setattr(duplicates, "_AXES", axes)
        assert find_groups(vectors, threshold) == connect(vectors, threshold)
        copied = np.concatenate([vectors, vectors[::2]])
        same_as = np.concatenate([np.arange(count), np.arange(count)[::2]])
        assert find_groups(copied, threshold, same_as) == connect(copied, threshold)


def test_many_equal_images_are_one_group():
    vectors = np.ones((9_000, 4), np.float32)
    vectors[7] = [1, 0, 0, 0]
    (group,) = find_groups(vectors, 0.99)
    assert group == [row for row in range(9_000) if row != 7]


@pytest.mark.parametrize("threshold", [0, 1.5, -1])
def test_the_threshold_is_checked(threshold):
    with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
        find_groups(np.ones((2, 2), np.float32), threshold)
