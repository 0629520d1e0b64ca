"""A chunk file as bytes: Parquet with the SHA-256 of all of it, and the digest of its chunk inside.

The checksum is a value in Parquet's footer, and is taken over the file with zeros in its place: so
a chunk file is a Parquet file like any other.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from beamvec.embeddings import schema

_KEY = "beamvec.sha256"
_BLANK = b"0" * 64
_MARK = _KEY.encode() + b"\x18\x40"
"""The key as Thrift writes it, followed by the type and length of its value."""


class DamagedChunkError(Exception):
    """A chunk file does not hold what was written, or what was planned."""


def seal_chunk(rows: pa.Table, digest: str) -> bytes:
    """Return the content of a chunk file.

    Args:
        rows: the chunk's, see `beamvec.embeddings.schema.chunk_schema`.
        digest: of the chunk.
    """
    file = io.BytesIO()
    target = _name_chunk(rows.schema, digest)
    with pq.ParquetWriter(file, target, **schema.parquet_options(target)) as writer:
        writer.write_table(rows.cast(target))
        writer.add_key_value_metadata({_KEY: _BLANK.decode()})
    blank = file.getvalue()
    start, end = _find_seal(blank)
    return b"".join((blank[:start], _digest(blank), blank[end:]))


def unseal_chunk(content: bytes, digest: str, uris: str) -> pa.Table:
    """Return the rows of a chunk file.

    Args:
        content: of the file.
        digest: of the chunk that it should be.
        uris: of the images that it should hold, see `digest_uris`.

    Raises:
        DamagedChunkError: if a single bit of it has changed, or it is of another chunk.
    """
    start, end = _find_seal(content)
    if _digest(content) != content[start:end]:
        raise DamagedChunkError("its checksum is another")
    # Chunks are small: threads would cost more than they save, and read_table three times as much.
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        rows = file.read(use_threads=False)
    name = schema.METADATA_KEY
    if rows.schema.metadata[name] != _name_chunk(rows.schema, digest).metadata[name]:
        raise DamagedChunkError("it is of another chunk")
    if digest_uris(rows[schema.URI].to_pylist()) != uris:
        raise DamagedChunkError("its images are not those that were planned")
    return rows


def _name_chunk(rows: pa.Schema, digest: str) -> pa.Schema:
    return schema.with_metadata(rows, {"chunk": digest})


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


def digest_uris(uris: Iterable[str]) -> str:
    """Return the SHA-256, in hex, over uris in their order.

    >>> digest_uris(["a", "b"]) == digest_uris(["a', 'b"])
    False
    """
    return hashlib.sha256(repr(list(uris)).encode()).hexdigest()
