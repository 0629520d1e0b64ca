"""Hints at what somebody may have meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.pipeline.spelling import did_you_mean

words = st.text(min_size=1, max_size=10)


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("--apend", ["--append", "--input"], "; did you mean --append?"),
        ("strech", ["stretch", "crop", "pad"], "; did you mean stretch?"),
        ("zebra", ["stretch", "crop", "pad"], ""),
        ("", ["stretch"], ""),
        ("crop", [], ""),
    ],
)
def test_the_nearest_word_is_named_if_one_is_near(word, known, hint):
    assert did_you_mean(word, iter(known)) == hint


@given(words, st.lists(words, max_size=5))
def test_a_word_that_is_known_is_its_own_nearest(word, others):
    assert did_you_mean(word, [*others, word]) == f"; did you mean {word}?"
