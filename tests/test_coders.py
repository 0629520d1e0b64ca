"""What is shuffled comes back as it was, whatever a manifest's columns hold."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.coders import registry
from hypothesis import given
from hypothesis import strategies as st

from beamvec.transforms.inputs.manifest import Manifest
from beamvec.transforms.planning.plan import plan_chunks, split_block
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.coders import CompressedCoder
from beamvec.transforms.records.images import ImageRef, RefBlock
from beamvec.transforms.records.own_columns import to_arrow

texts = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | st.binary()
)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=3)
refs = st.lists(
    st.builds(
        ImageRef,
        texts,
        st.none() | st.integers(0, 2**60),
        st.none() | st.floats(allow_nan=False),
        st.lists(values, max_size=3).map(tuple),
        st.none() | st.tuples(st.integers(), texts),
    ),
    max_size=30,
)

MANIFEST = pa.table(
    {
        "uri": ["a.jpg", "ä b.jpg", "c.jpg"],
        "null": pa.array([None] * 3),
        "bool": [True, None, False],
        "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
        "half": pa.array([1.5, None, -2.0], pa.float16()),
        "double": [float("inf"), None, -0.0],
        "text": ["\U0001f600", "", None],
        "bytes": [b"\xff\x00", None, b""],
        "decimal": pa.array([Decimal("1.10"), None, Decimal("-9.99")], pa.decimal128(9, 2)),
        "date": [datetime.date(1, 1, 1), None, datetime.date(9999, 12, 31)],
        "time": pa.array([1, None, 86_399_999_999_999], pa.time64("ns")),
        "instant": pa.array([2**62, None, -1], pa.timestamp("ns", "Europe/Berlin")),
        "duration": pa.array([1, None, -(2**60)], pa.duration("ns")),
        "list": [[1, None], None, []],
        "struct": [{"x": 1, "y": "z"}, None, {"x": None, "y": ""}],
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "category": pa.array(["u", None, "u"]).dictionary_encode(),
    }
)


def through_coder(value):
    coder = registry.get_coder(type(value))
    assert isinstance(coder, CompressedCoder)
    return coder.decode(coder.encode(value))


@given(refs, st.integers(1, 5))
def test_blocks_and_chunks_come_back_the_same(refs, shards):
    block = RefBlock(tuple(refs))
    assert through_coder(block) == block
    parts = [part for shard, part in split_block(block, shards)]
    back = [ref for part in parts for ref in through_coder(part).refs]
    assert plan_chunks(0, back, 7, "s") == plan_chunks(0, refs, 7, "s")
    for chunk in plan_chunks(0, refs, 7, "s"):
        again = through_coder(chunk)
        assert isinstance(again, Chunk)
        assert repr(again) == repr(chunk)  # Digests are made of it.


def test_values_of_every_type_come_back_the_same(tmp_path):
    path = str(tmp_path / "m.parquet")
    pq.write_table(MANIFEST, path)
    names = ",".join(name for name in MANIFEST.column_names if name != "uri")
    manifest = Manifest((path,), manifest_columns=names).check()
    columns = manifest.columns
    block = RefBlock(tuple(manifest.read_rows()))
    again = through_coder(block)
    assert repr(again) == repr(block)
    for i, field in enumerate(columns):
        expected = MANIFEST[field.name].combine_chunks().cast(field.type)
        assert to_arrow([ref.columns[i] for ref in again.refs], field.type).equals(expected)
