"""What a chunk file is trusted for."""

from __future__ import annotations

import io
import random

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from made_chunks import embedded_chunks, make_chunk

from beamvec.transforms.output.chunk_files import chunk_table
from beamvec.transforms.output.sealed import (
    DamagedChunkError,
    seal_chunk,
    unseal_chunk,
)
from beamvec.transforms.records.own_columns import NO_COLUMNS

FLIPS = 500


def seal(digest: str, good: int, bad: int = 0) -> bytes:
    made = make_chunk(digest, good, bad)
    return seal_chunk(chunk_table(made, NO_COLUMNS), made.chunk)


@settings(max_examples=40, deadline=None)
@given(embedded_chunks())
def test_a_sealed_chunk_is_parquet_and_gives_its_rows_back(embedded):
    rows = chunk_table(embedded, NO_COLUMNS)
    content = seal_chunk(rows, embedded.chunk)
    assert content == seal_chunk(rows, embedded.chunk)
    assert pq.read_table(io.BytesIO(content)).to_pylist() == rows.to_pylist()
    assert unseal_chunk(content, embedded.chunk.digest).to_pylist() == rows.to_pylist()


def test_no_flipped_bit_is_taken_for_what_was_written():
    content = seal("a", 3, 2)
    draw = random.Random(7)
    for _ in range(FLIPS):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        with pytest.raises(DamagedChunkError):
            unseal_chunk(bytes(flipped), "a")


@pytest.mark.parametrize("length", [0, 1, 4, 63, 500, -1])
def test_a_part_of_a_chunk_file_is_none(length):
    with pytest.raises(DamagedChunkError):
        unseal_chunk(seal("a", 3)[:length], "a")


def test_the_file_of_another_chunk_is_refused():
    with pytest.raises(DamagedChunkError, match="it is of another chunk"):
        unseal_chunk(seal("other", 3), "a")


def test_rows_that_were_not_planned_are_refused():
    made = make_chunk("a", 3)
    rows = chunk_table(make_chunk("b", 3), NO_COLUMNS)
    for wrong in (rows, chunk_table(made, NO_COLUMNS).slice(1)):
        with pytest.raises(DamagedChunkError, match="its images are not those that were planned"):
            unseal_chunk(seal_chunk(wrong, made.chunk), "a")
