"""Planning, as properties over random input."""

from __future__ import annotations

import json

import apache_beam as beam
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from beamvec.transforms.planning.plan import (
    ACCOUNTS,
    PlanChunks,
    PlanOptions,
    account_inputs,
    assign_shard,
    count_shards,
    plan_chunks,
)
from beamvec.transforms.records.account import Account
from beamvec.transforms.records.images import ImageRef, RefBlock

texts = st.text(st.characters(codec="utf-8"), max_size=8)
refs = st.lists(
    st.builds(
        ImageRef,
        texts,
        st.none() | st.integers(0, 3),
        st.none() | st.floats(0, 2),
        st.tuples(st.none() | texts | st.integers()),
        st.none(),
    ),
    max_size=40,
)


@given(refs, st.randoms(use_true_random=False), st.integers(1, 10))
def test_chunks_depend_on_the_set_of_refs_only(refs, random, chunk_size):
    shuffled = random.sample(refs, len(refs))
    chunks = plan_chunks(3, refs, chunk_size, "settings")
    assert chunks == plan_chunks(3, shuffled, chunk_size, "settings")
    assert chunks == plan_chunks(3, refs + refs[:5], chunk_size, "settings")


@given(refs, st.integers(1, 10))
def test_chunks_hold_every_uri_once_in_order(refs, chunk_size):
    chunks = plan_chunks(0, refs, chunk_size, "")
    uris = [ref.uri for chunk in chunks for ref in chunk.refs]
    assert uris == sorted({ref.uri for ref in refs})
    assert all(len(chunk.refs) == chunk_size for chunk in chunks[:-1])
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    assert len({chunk.digest for chunk in chunks}) == len(chunks)


@given(refs.filter(bool), st.data())
def test_digests_change_with_anything_that_matters(refs, data):
    (before,) = plan_chunks(0, refs, 100, "settings")
    assert plan_chunks(0, refs, 100, "other settings")[0].digest != before.digest
    i = data.draw(st.integers(0, len(before.refs) - 1))
    ref = before.refs[i]
    changes = {
        "size_bytes": (ref.size_bytes or 0) + 1,
        "modified_s": (ref.modified_s or 0.0) + 1,
        "columns": (*ref.columns, "more"),
        "uri": ref.uri + "x",
    }
    name = data.draw(st.sampled_from(sorted(changes)))
    changed = list(before.refs)
    changed[i] = ref._replace(**{name: changes[name]})
    assert plan_chunks(0, changed, 100, "settings")[0].digest != before.digest


@given(refs, st.randoms(use_true_random=False))
def test_the_input_digest_ignores_order_and_counts_repeats(refs, random):
    account = account_inputs(refs)
    assert account == account_inputs(random.sample(refs, len(refs)))
    assert account == account_inputs(refs[:7]) + account_inputs(refs[7:])
    if refs:
        assert account.input_digest != account_inputs(refs + refs[:1]).input_digest


@given(st.lists(texts, min_size=1), st.integers(1, 50))
def test_shards_are_in_range_and_stable(uris, shards):
    assert all(0 <= assign_shard(uri, shards) < shards for uri in uris)
    # Part of the layout of every dataset: must never change.
    assert assign_shard("gs://bucket/a.jpg", 1000) == 464


@given(st.integers(0, 10**10), st.integers(1, 10**6))
def test_shards_hold_all_rows(images, rows_per_shard):
    shards = count_shards(images, rows_per_shard)
    assert shards >= 1
    assert shards * rows_per_shard >= images
    assert (shards - 1) * rows_per_shard <= images


@settings(max_examples=4, deadline=None)
@given(
    refs=refs,
    cut=st.integers(0, 40),
    chunk_size=st.integers(1, 7),
    rows_per_shard=st.integers(1, 20),
)
def test_plan_chunks_in_beam_plans_what_the_functions_plan(
    tmp_path_factory, refs, cut, chunk_size, rows_per_shard
):
    total = tmp_path_factory.mktemp("plan") / "total.json"
    shards = count_shards(len(refs), rows_per_shard)
    expected = [
        chunk
        for shard in range(shards)
        for chunk in plan_chunks(
            shard, [r for r in refs if assign_shard(r.uri, shards) == shard], chunk_size, "s"
        )
    ]
    unique = len({ref.uri for ref in refs})
    whole = account_inputs(refs) + Account(duplicates=len(refs) - unique)
    with TestPipeline(runner="FnApiRunner") as pipeline:
        options = PlanOptions(chunk_size, rows_per_shard, "s", str(total))
        blocks = [RefBlock(refs[:cut]), RefBlock(refs[cut:])]
        planned = pipeline | beam.Create(blocks) | PlanChunks(options)
        assert_that(planned["chunks"], equal_to(expected), "chunks")
        assert_that(planned["shards"], equal_to([shards]), "shards")
        summed = planned[ACCOUNTS] | beam.CombineGlobally(lambda a: sum(a, Account()))
        assert_that(summed, equal_to([whole]), "accounts")
    assert json.loads(total.read_text()) == {"images": len(refs)}


@given(refs, st.integers(1, 10))
def test_a_chunk_is_of_one_run(refs, chunk_size):
    def run_of(ref):
        return "", len(ref.uri) % 3

    chunks = plan_chunks(0, refs, chunk_size, "", run_of)
    runs = [{run_of(ref) for ref in chunk.refs} for chunk in chunks]
    assert all(len(run) == 1 for run in runs)
    assert runs == sorted(runs, key=min)
    for chunk in chunks:
        uris = [ref.uri for ref in chunk.refs]
        assert uris == sorted(uris)
    assert sorted(ref.uri for chunk in chunks for ref in chunk.refs) == sorted(
        {ref.uri for ref in refs}
    )
