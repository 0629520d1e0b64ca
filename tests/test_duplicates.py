"""Groups of duplicates: against all pairs compared one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samples
from beamvec.embeddings import find_groups, open_dataset
from beamvec.embeddings import groups as duplicates
from beamvec.errors import ArgumentError


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


@pytest.mark.parametrize(
    ("vectors", "same_as", "message"),
    [
        ("x", None, "vectors is a str"),
        (np.ones(3), None, r"vectors is \[3\]"),
        ([[np.nan, 1], [1, 1]], None, "vectors holds NaN"),
        (np.ones((2, 2)), [0], r"same_as is int64 \[1\]; it must be int64 \[2\]"),
        (np.ones((2, 2)), [1, 1], "the first of the rows that are equal"),
        (np.ones((3, 2)), [0, 0, 1], "the first of the rows that are equal"),
        (np.ones((2, 2)), [-1, 0], "the first of the rows that are equal"),
        (np.ones((2, 2)), [0.0, 0.5], "same_as is float64"),
    ],
)
def test_what_cannot_be_grouped_is_refused(vectors, same_as, message):
    with pytest.raises(ArgumentError, match=message):
        find_groups(vectors, 0.9, same_as)


def test_a_dataset_is_to_be_read_first(tmp_path):
    samples.write_dataset(tmp_path, np.ones((3, 2), np.float32))
    with pytest.raises(ArgumentError, match=r"read_vectors\(\)"):
        find_groups(open_dataset(tmp_path), 0.9)


def test_other_kinds_of_numbers_are_grouped():
    for vectors in ([[1, 0], [0, 1], [2, 0]], np.array([[100, 0], [0, 100], [90, 0]], np.int8)):
        assert find_groups(vectors, 0.9) == [[0, 2]]
