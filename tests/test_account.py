"""Accounts of disjoint parts add up."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from beamvec.transforms.records.account import NAMED, Account, ErrorCount
from beamvec.transforms.records.chunks import Effort

texts = st.text(st.characters(codec="utf-8"), max_size=8)
accounts = st.builds(
    Account,
    inputs=st.integers(0, 100),
    duplicates=st.integers(0, 100),
    embeddings=st.integers(0, 100),
    failures=st.integers(0, 100),
    effort=st.builds(Effort, read_s=st.integers(0, 9), infer_s=st.integers(0, 9)),
    errors=st.dictionaries(
        st.tuples(texts, texts, texts), st.builds(ErrorCount, st.integers(1, 5), texts), max_size=3
    ),
    load_ids=st.frozensets(texts, max_size=3),
    images_at=st.dictionaries(st.integers(0, 9), st.integers(1, 9), max_size=3).map(Counter),
    known=st.integers(0, 9),
    changed=st.integers(0, 9),
    changed_uris=st.lists(texts, max_size=NAMED).map(lambda uris: tuple(sorted(uris))),
    input_digest=st.integers(0, 2**256 - 1),
)


@given(accounts, accounts, accounts)
def test_accounts_add_up_in_any_grouping(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Account() == a


@given(accounts, accounts)
def test_errors_of_a_kind_are_one_with_the_first_message(a, b):
    total = a + b
    assert total.errors.keys() == a.errors.keys() | b.errors.keys()
    for kind, error in total.errors.items():
        found = [side.errors[kind] for side in (a, b) if kind in side.errors]
        assert error == ErrorCount(
            sum(one.count for one in found), min(one.example for one in found)
        )


@given(accounts, accounts)
def test_only_the_first_changed_images_are_named(a, b):
    total = a + b
    assert len(total.changed_uris) <= NAMED
    assert list(total.changed_uris) == sorted(a.changed_uris + b.changed_uris)[:NAMED]


def test_digests_add_up_within_256_bits():
    half = Account(input_digest=2**255)
    assert (half + half).input_digest == 0
