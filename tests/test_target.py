"""Where a run writes."""

from __future__ import annotations

import pickle

import pyarrow as pa

from beamvec.embeddings.layout import Layout
from beamvec.transforms.output.target import Target


def test_parts_are_written_aside():
    table = Target(Layout("gs://bucket/out"), token="ab").parts.table("embeddings")
    assert table == "gs://bucket/out/chunks/parts/ab/embeddings"


def test_a_target_is_sent_to_workers_whole():
    target = Target(Layout("out"), pa.schema([pa.field("label", pa.string())]), {"model": "m"}, 2)
    assert pickle.loads(pickle.dumps(target)) == target
