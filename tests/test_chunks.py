"""Chunks on their way."""

from __future__ import annotations

import pickle
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from beamvec.transforms.records.chunks import Chunk, Effort
from beamvec.transforms.records.images import ImageRef

refs = st.lists(
    st.builds(
        ImageRef,
        st.text(max_size=5),
        st.none() | st.integers(0),
        st.none(),
        st.just(()),
        st.none() | st.integers(),
    ),
    max_size=9,
)
efforts = st.builds(Effort, *[st.integers(0, 99)] * len(fields(Effort)))


@given(refs)
def test_a_chunk_comes_back_the_same(found):
    chunk = Chunk(1, 2, "ab", tuple(found))
    again = pickle.loads(pickle.dumps(chunk))
    assert again == chunk
    assert all(isinstance(ref, ImageRef) for ref in again.refs)


@given(efforts, efforts, efforts)
def test_efforts_add_up_in_any_grouping(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Effort() == a
