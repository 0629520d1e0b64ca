"""Where a run writes."""

from __future__ import annotations

import pickle

import pyarrow as pa

from beamvec.embeddings.layout import Layout
from beamvec.transforms.output.target import Target


def test_a_dataset_is_written_in_place_and_an_append_aside():
    layout = Layout("gs://bucket/out")
    assert Target(layout).parts == layout
    assert Target(layout, generation=1).parts == layout.staged
    table = Target(layout, generation=1).parts.table("embeddings")
    assert table == "gs://bucket/out/chunks/parts/embeddings"


def test_a_target_is_sent_to_workers_whole():
    target = Target(Layout("out"), pa.schema([pa.field("label", pa.string())]), {"model": "m"}, 2)
    assert pickle.loads(pickle.dumps(target)) == target
