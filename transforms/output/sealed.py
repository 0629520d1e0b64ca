"""A chunk file as bytes: Parquet with the SHA-256 of all of it, and what was planned for it inside.

The checksum is a value in Parquet's footer, and is taken over the file with zeros in its place: so
a chunk file is a Parquet file like any other.
"""

from __future__ import annotations

import hashlib
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from beamvec.embeddings import schema
from beamvec.transforms.records.chunks import Chunk

_KEY = "beamvec.sha256"
_BLANK = b"0" * 64
_MARK = _KEY.encode() + b"\x18\x40"
"""The key as Thrift writes it, followed by the type and length of its value."""


class DamagedChunkError(Exception):
    """A chunk file does not hold what was written, or what was planned."""


def seal_chunk(rows: pa.Table, chunk: Chunk) -> bytes:
    """Return the content of a chunk file.

    Args:
        rows: the chunk's, see `beamvec.embeddings.schema.chunk_schema`.
        chunk: what was planned.
    """
    file = io.BytesIO()
    plan = {"chunk": chunk.digest, "uris": _digest_uris([ref.uri for ref in chunk.refs])}
    target = schema.with_metadata(rows.schema, plan)
    with pq.ParquetWriter(file, target, **schema.parquet_options(target)) as writer:
        writer.write_table(rows.cast(target))
        writer.add_key_value_metadata({_KEY: _BLANK.decode()})
    blank = file.getvalue()
    start, end = _find_seal(blank)
    return b"".join((blank[:start], _digest(blank), blank[end:]))


def unseal_chunk(content: bytes, digest: str) -> pa.Table:
    """Return the rows of a chunk file.

    Args:
        content: of the file.
        digest: of the chunk that it should be.

    Raises:
        DamagedChunkError: if a single bit of it has changed, or it is of another chunk.
    """
    start, end = _find_seal(content)
    if _digest(content) != content[start:end]:
        raise DamagedChunkError("its checksum is another")
    # Chunks are small: threads would cost more than they save, and read_table three times as much.
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        rows = file.read(use_threads=False)
    plan = json.loads(rows.schema.metadata[schema.METADATA_KEY])
    if plan["chunk"] != digest:
        raise DamagedChunkError("it is of another chunk")
    if _digest_uris(rows[schema.URI].to_pylist()) != plan["uris"]:
        raise DamagedChunkError("its images are not those that were planned")
    return rows


def _find_seal(content: bytes) -> tuple[int, int]:
    """Return where the checksum begins and ends; where there is none, there is none to match."""
    start = content.rfind(_MARK) + len(_MARK)
    return start, start + len(_BLANK)


def _digest(content: bytes) -> bytes:
    """Return the SHA-256, in hex, of a file with zeros in place of its checksum."""
    start, end = _find_seal(content)
    view = memoryview(content)
    digest = hashlib.sha256(view[:start])
    digest.update(_BLANK)
    digest.update(view[end:])
    return digest.hexdigest().encode()


def _digest_uris(uris: list[str]) -> str:
    """Return the SHA-256, in hex, over uris in their order."""
    return hashlib.sha256(repr(uris).encode()).hexdigest()
