"""What listing has left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from beamvec.embeddings.unlisted import NAMED, Unlisted

parts = st.builds(
    Unlisted,
    st.dictionaries(st.sampled_from(["", ".txt", ".dng"]), st.integers(1, 5)),
    st.integers(0, 5),
    st.lists(st.text(max_size=3), max_size=NAMED).map(tuple),
)


@given(st.lists(parts, max_size=5), st.randoms())
def test_parts_add_up_in_any_order(found, random):
    total = sum(found, Unlisted())
    random.shuffle(found)
    assert sum(found, Unlisted()) == total
    assert total.count == sum(part.count for part in found)
    assert total.folders == sum(part.folders for part in found)
    assert len(total.named) <= NAMED


def test_what_there_is_most_of_comes_first():
    found = Unlisted({f".{letter}": count for count, letter in enumerate("abcdefghij", 1)})
    assert found.describe_files(2) == "55 files not looked at: 10 x .j, 9 x .i, ..."


def test_folders_are_named():
    found = Unlisted(folders=7, named=("/a: denied", "/b: denied"))
    assert found.describe_folders() == (
        "7 folders that could not be read: /a: denied, /b: denied, ..."
    )
