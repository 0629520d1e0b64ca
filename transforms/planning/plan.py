"""From images to chunks: shards by a stable hash, sorted slices, digests."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from beamvec.embeddings.settings import Settings
from beamvec.transforms.files import storage
from beamvec.transforms.records.account import ACCOUNTS, Account
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.coders import CompressedCoder
from beamvec.transforms.records.images import ImageRef, RefBlock


def count_shards(images: int, rows_per_shard: int) -> int:
    """Return how many parts hold so many images, at least one.

    >>> count_shards(100_001, 50_000)
    3
    """
    return max(1, -(-images // rows_per_shard))


ShardKey = Callable[[ImageRef], str]
"""Tells of an image what decides which shard it is in."""


RunKey = Callable[[ImageRef], tuple[str, int]]
"""Tells of an image which run of neighbours it is in; a chunk is of one run."""


def no_run(_: ImageRef) -> tuple[str, int]:
    """Tell that an image may share a chunk with any other."""
    return "", 0


def uri_of(ref: ImageRef) -> str:
    """Return the uri, by which images are spread over the shards one by one."""
    return ref.uri


def assign_shard(key: str, shards: int) -> int:
    """Return the shard of a key: its SHA-256, first eight bytes, modulo the count.

    >>> assign_shard("gs://bucket/a.jpg", 1)
    0
    """
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % shards


def split_block(
    block: RefBlock, shards: int, shard_key: ShardKey = uri_of
) -> Iterator[tuple[int, RefBlock]]:
    """Yield the part of a block that each shard gets, if it gets any."""
    by_shard: dict[int, list[ImageRef]] = defaultdict(list)
    for ref in block.refs:
        by_shard[assign_shard(shard_key(ref), shards)].append(ref)
    for shard, refs in by_shard.items():
        yield shard, RefBlock(refs)


def digest_ref(ref: ImageRef) -> bytes:
    """Return the SHA-256 of all that is known of an image before it is read, but its place."""
    return hashlib.sha256(repr(tuple(ref._replace(place=None))).encode()).digest()


def digest_settings(settings: Settings) -> str:
    """Return the SHA-256, in hex, of every setting that changes a value in the output."""
    values = asdict(settings)
    if not values["int8"]:  # So that what versions without it began can be gone on with.
        del values["int8"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def account_inputs(refs: Iterable[ImageRef]) -> Account:
    """Count images and add up their digests: equal for equal inputs in any order."""
    inputs, total = 0, 0
    for ref in refs:
        inputs += 1
        total += int.from_bytes(digest_ref(ref), "big")
    return Account(inputs=inputs, input_digest=total % 2**256)


def plan_chunks(
    shard: int,
    refs: Iterable[ImageRef],
    chunk_size: int,
    settings_digest: str,
    run_key: RunKey = no_run,
) -> list[Chunk]:
    """Cut a shard into chunks; the result depends on the set of refs only, not on their order.

    Of several refs with the same uri the first in sorted order is kept.

    Args:
        shard: the shard's index.
        refs: its images, in any order.
        chunk_size: images in a chunk, the last one may hold fewer.
        settings_digest: stands for every setting that changes a value in the output.
        run_key: a chunk ends where it changes; of a run, images are in the order of uris.
    """
    by_uri: dict[str, ImageRef] = {}
    for ref in refs:
        other = by_uri.setdefault(ref.uri, ref)
        if other is not ref:
            by_uri[ref.uri] = min(ref, other, key=repr)
    ordered = sorted(by_uri.values(), key=lambda ref: (run_key(ref), ref.uri))
    runs = (tuple(run) for _, run in groupby(ordered, run_key))
    slices = (run[i : i + chunk_size] for run in runs for i in range(0, len(run), chunk_size))
    return [
        Chunk(shard, position, _digest_chunk(part, settings_digest), part)
        for position, part in enumerate(slices)
    ]


def _digest_chunk(refs: tuple[ImageRef, ...], settings_digest: str) -> str:
    digest = hashlib.sha256(settings_digest.encode())
    for ref in refs:
        digest.update(digest_ref(ref))
    return digest.hexdigest()


@dataclass(frozen=True)
class PlanOptions:
    """How the input is cut.

    Attributes:
        chunk_size: images in a chunk.
        rows_per_shard: images in an output part, on average.
        settings_digest: stands for every setting that changes a value in the output.
        total_path: where the number of inputs is written, for whoever shows progress.
        shard_key: what decides which shard an image is in.
        run_key: what decides which images may share a chunk.
    """

    chunk_size: int
    rows_per_shard: int
    settings_digest: str
    total_path: str
    shard_key: ShardKey = uri_of
    run_key: RunKey = no_run


class PlanChunks(beam.PTransform[Any, Any]):
    """Group images into chunks: `RefBlock` -> `Chunk`, `shards` and the input's accounts.

    Returns a dict: `chunks`; `shards`, one number, how many output parts there are; `accounts`,
    an `Account` a shard with inputs, duplicates and input digest.
    """

    def __init__(self, options: PlanOptions):
        super().__init__()
        self._options = options

    def expand(self, blocks: PCollection[RefBlock]) -> dict[str, PCollection[Any]]:
        """Apply the transform."""
        options = self._options
        shards = (
            blocks
            | "CountRefs" >> beam.Map(_count_refs).with_output_types(int)
            | "CountImages" >> beam.CombineGlobally(sum)
            | "CountShards" >> beam.Map(_announce, options).with_output_types(int)
        )
        assign = beam.FlatMap(_assign_shards, options.shard_key, AsSingleton(shards))
        # Without the type, chunks would be shuffled as whatever Beam makes of any object.
        cut = beam.FlatMap(_cut_shard, options).with_output_types(Chunk)
        planned = (
            blocks
            | "AssignShards" >> assign.with_output_types(tuple[int, bytes])
            | "GroupShards" >> beam.GroupByKey()
            | "CutShards" >> cut.with_outputs(ACCOUNTS, main="chunks")
        )
        chunks = planned["chunks"] | "Spread" >> beam.Reshuffle().with_output_types(Chunk)
        return {"chunks": chunks, "shards": shards, ACCOUNTS: planned[ACCOUNTS]}


def _count_refs(block: RefBlock) -> int:
    return len(block.refs)


def _announce(images: int, options: PlanOptions) -> int:
    storage.write_file(options.total_path, json.dumps({"images": images}).encode())
    return count_shards(images, options.rows_per_shard)


# Blocks are encoded here, not by the runner, which would hold a shard's decoded images until it has
# decoded those of the next one.
_BLOCKS = CompressedCoder()


def _assign_shards(
    block: RefBlock, shard_key: ShardKey, shards: int
) -> Iterator[tuple[int, bytes]]:
    parts = split_block(block, shards, shard_key)
    return ((shard, _BLOCKS.encode(part)) for shard, part in parts)


def _cut_shard(
    element: tuple[int, Iterable[bytes]], options: PlanOptions
) -> Iterator[Chunk | TaggedOutput[str, Any]]:
    shard, blocks = element
    refs = [ref for block in blocks for ref in _BLOCKS.decode(block).refs]
    inputs = account_inputs(refs)
    chunks = plan_chunks(shard, refs, options.chunk_size, options.settings_digest, options.run_key)
    duplicates = len(refs) - sum(len(chunk.refs) for chunk in chunks)
    yield TaggedOutput(ACCOUNTS, inputs + Account(duplicates=duplicates))
    yield from chunks


for _record in (RefBlock, Chunk):
    beam.coders.registry.register_coder(_record, CompressedCoder)
