"""Listing the images of the input: `MatchImages`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from beamvec.embeddings.unlisted import Unlisted
from beamvec.errors import InputError
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.records.account import ACCOUNTS, Account
from beamvec.transforms.records.images import ImageRef, RefBlock

BLOCK_REFS = 10_000
"""Images in a block: enough to compress well, and little beside what a worker holds anyway."""

_NAMED = 3
"""Names of an input that an error shows."""


def list_blocks(source: Source) -> Iterator[RefBlock | Unlisted]:
    """Yield the images of a source, in blocks, and what listing has left out.

    Raises:
        InputError: if it names none, which it did when it was checked, and must.
    """
    block: list[ImageRef] = []
    count = 0
    for found in source.list_all():
        if isinstance(found, Unlisted):
            yield found
            continue
        block.append(found)
        count += 1
        if len(block) == BLOCK_REFS:
            yield RefBlock(tuple(block))
            block = []
    if block:
        yield RefBlock(tuple(block))
    if not (count or source.allow_empty):
        names = ", ".join(source.describe()[:_NAMED])
        raise InputError(f"`{source.kind}={names}` names no image any more")


def _split(source: Source) -> list[Source]:
    return source.list_parts()


class MatchImages(beam.PTransform[Any, Any]):
    """List the images of the input, as often as it names them.

    Returns a dict: `blocks` of `RefBlock`s, and `accounts` of what was left out.
    """

    def __init__(self, source: Source):
        super().__init__()
        self._source = source

    def expand(self, pipeline: beam.Pipeline) -> dict[str, PCollection[Any]]:
        """Apply the transform."""
        list_all = beam.FlatMap(_list).with_output_types(RefBlock)
        listed = (
            pipeline
            | "Inputs" >> beam.Create([self._source])
            # On a worker: there may be more parts than a job's description can hold.
            | "SplitInputs" >> beam.FlatMap(_split)
            | "SpreadInputs" >> beam.Reshuffle()
            | "ListImages" >> list_all.with_outputs(ACCOUNTS, main="blocks")
        )
        return {"blocks": listed["blocks"], ACCOUNTS: listed[ACCOUNTS]}


def _list(source: Source) -> Iterator[RefBlock | TaggedOutput[str, Any]]:
    for found in list_blocks(source):
        if isinstance(found, Unlisted):
            yield TaggedOutput(ACCOUNTS, Account(unlisted=found))
        else:
            yield found
