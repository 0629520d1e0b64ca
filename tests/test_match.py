"""Listing the images of the input, in blocks."""

from __future__ import annotations

from dataclasses import replace

import apache_beam as beam
import pytest
from apache_beam.coders import registry
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from beamvec.embeddings.unlisted import Unlisted
from beamvec.errors import InputError
from beamvec.transforms.inputs.match import BLOCK_REFS, MatchImages, list_blocks
from beamvec.transforms.inputs.patterns import Patterns
from beamvec.transforms.inputs.uri_list import UriList
from beamvec.transforms.planning.plan import PlanChunks
from beamvec.transforms.records.account import ACCOUNTS
from beamvec.transforms.records.images import RefBlock

assert PlanChunks  # Its module says how blocks are encoded.


@pytest.mark.parametrize("count", [1, BLOCK_REFS, 2 * BLOCK_REFS + 1])
def test_blocks_hold_what_is_listed(tmp_path, count):
    (tmp_path / "list").write_text("".join(f"s3://bucket/{i}\n" for i in range(count)))
    source = UriList((str(tmp_path / "list"),))
    blocks = list(list_blocks(source))
    assert [ref for block in blocks for ref in block.refs] == list(source.list_images())
    assert all(len(block.refs) <= BLOCK_REFS for block in blocks)
    coder = registry.get_coder(RefBlock)
    assert all(len(coder.encode(block)) < 20 * len(block.refs) + 200 for block in blocks)


def test_every_pattern_is_listed_as_often_as_it_is_named(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    file, folder = str(tmp_path / "a.jpg"), str(tmp_path)
    with TestPipeline(runner="FnApiRunner") as pipeline:
        listed = pipeline | MatchImages(Patterns((file, folder)))
        uris = listed["blocks"] | beam.FlatMap(lambda block: [ref.uri for ref in block.refs])
        assert_that(uris, equal_to([file, file, str(tmp_path / "b.jpg")]))
        found = listed[ACCOUNTS] | beam.Map(lambda account: account.unlisted)
        assert_that(found, equal_to([Unlisted(), Unlisted({".txt": 1})]), "unlisted")


def test_nothing_gives_no_block_if_it_may_be_empty(tmp_path):
    (tmp_path / "list").write_text("")
    source = UriList((str(tmp_path / "list"),))
    assert list(list_blocks(replace(source, allow_empty=True))) == []
    with pytest.raises(InputError, match=f"`input_list={tmp_path}/list` names no image any more"):
        list(list_blocks(source))
