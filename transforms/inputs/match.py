"""Listing the images of the input: `MatchImages`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beamvec.errors import InputError
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.records.images import RefBlock

BLOCK_REFS = 10_000
"""Images in a block: enough to compress well, and little beside what a worker holds anyway."""

_NAMED = 3
"""Names of an input that an error shows."""


def list_blocks(source: Source) -> Iterator[RefBlock]:
    """Yield the images of a source, in blocks.

    Raises:
        InputError: if it names none, which it did when it was checked, and must.
    """
    refs = source.list_images()
    block = tuple(islice(refs, BLOCK_REFS))
    if not (block or source.allow_empty):
        names = ", ".join(source.describe()[:_NAMED])
        raise InputError(f"`{source.kind}={names}` names no image any more")
    while block:
        yield RefBlock(block)
        block = tuple(islice(refs, BLOCK_REFS))


class MatchImages(beam.PTransform[Any, Any]):
    """List the images of the input, as often as it names them: nothing -> `RefBlock`."""

    def __init__(self, source: Source):
        super().__init__()
        self._source = source

    def expand(self, pipeline: beam.Pipeline) -> PCollection[RefBlock]:
        """Apply the transform."""
        return (
            pipeline
            | "Inputs" >> beam.Create(self._source.split())
            | "ListImages" >> beam.FlatMap(list_blocks).with_output_types(RefBlock)
        )
