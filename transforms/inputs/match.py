"""Listing the images of the input: `MatchImages`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beamvec.transforms.inputs.source import Source
from beamvec.transforms.records.images import RefBlock

BLOCK_REFS = 10_000
"""Images in a block: enough to compress well, and little beside what a worker holds anyway."""


def list_blocks(source: Source) -> Iterator[RefBlock]:
    """Yield the images of a source, in blocks."""
    refs = source.list_images()
    while block := tuple(islice(refs, BLOCK_REFS)):
        yield RefBlock(block)


def _split(source: Source) -> list[Source]:
    return source.split()


class MatchImages(beam.PTransform[Any, Any]):
    """List the images of the input, as often as it names them: nothing -> `RefBlock`."""

    def __init__(self, source: Source):
        super().__init__()
        self._source = source

    def expand(self, pipeline: beam.Pipeline) -> PCollection[RefBlock]:
        """Apply the transform."""
        return (
            pipeline
            | "Inputs" >> beam.Create([self._source])
            # On a worker: there may be more parts than a job's description can hold.
            | "SplitInputs" >> beam.FlatMap(_split)
            | "SpreadInputs" >> beam.Reshuffle()
            | "ListImages" >> beam.FlatMap(list_blocks).with_output_types(RefBlock)
        )
