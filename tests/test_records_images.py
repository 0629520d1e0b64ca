"""Images on their way."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from beamvec.transforms.records.images import ImageRef, RefBlock, pack_refs, unpack_refs

refs = st.lists(
    st.builds(
        ImageRef,
        st.text(max_size=5),
        st.none() | st.integers(0),
        st.none() | st.floats(allow_nan=False),
        st.lists(st.none() | st.integers() | st.text(max_size=3), max_size=3).map(tuple),
        st.none() | st.tuples(st.integers(), st.text(max_size=3)),
    ),
    max_size=20,
)


@given(refs)
def test_refs_come_back_from_columns(found):
    assert unpack_refs(pack_refs(found)) == tuple(found)


@given(refs)
def test_a_block_comes_back_the_same(found):
    block = RefBlock(tuple(found))
    assert pickle.loads(pickle.dumps(block)) == block


def test_what_listing_does_not_tell_is_unknown():
    assert ImageRef("a.jpg") == ("a.jpg", None, None, (), None)
