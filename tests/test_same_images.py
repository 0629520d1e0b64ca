"""Rows that name the same image with different values."""

from __future__ import annotations

import pytest

from beamvec.transforms.inputs.same_images import find_conflict, hash_uris
from beamvec.transforms.records.images import ImageRef


def find(*rows):
    refs = [ImageRef(uri, columns=values) for uri, *values in rows]
    batches = [refs[:2], refs[2:]]
    hashes = [hash_uris([ref.uri for ref in batch]) for batch in batches]
    return find_conflict(hashes, lambda: iter(refs))


NAN = float("nan")


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], None),
        ([("a", 1), ("b", 2), ("c", 1)], None),
        ([("a", 1), ("b", 2), ("a", 1)], None),
        ([("a", NAN), ("b", 2), ("a", NAN)], None),
        ([("a", 1), ("b", 2), ("b", 3), ("a", 4)], ("b", (2, 3))),
        ([("a", 1), ("b", 2), ("b", 2), ("a", None)], ("a", (1, 4))),
        ([("a", 1), ("a", 1.0)], ("a", (1, 2))),
    ],
)
def test_the_first_two_that_differ_are_named(rows, found):
    conflict = find(*rows)
    assert (conflict and conflict[:2]) == found


def test_rows_are_read_again_only_where_some_come_twice():
    def read():
        raise AssertionError

    assert find_conflict([hash_uris(["a", "b"])], read) is None
