"""What looks wrong in a model's embeddings, looked for while the graph is built: `Examination`."""

from __future__ import annotations

import contextlib
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor

from beamvec.errors import InputError
from beamvec.pipeline.run.observer import Observer
from beamvec.transforms.decoding.pool import SharedPool
from beamvec.transforms.embedding.examine import examine_model
from beamvec.transforms.inference.doubt import MAX_REAL, Doubt
from beamvec.transforms.inference.model import FeatureModel
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.records.images import ImageRef


class Examination:
    """A look at a model's embeddings of a few images, in a thread.

    Args:
        source: where some of the images come from.
        model: what is loaded.
        decoders: where they are decoded; None if that is elsewhere, and made images must do.
    """

    def __init__(self, source: Source, model: FeatureModel, decoders: SharedPool | None):
        threads = ThreadPoolExecutor(1, "examine")
        self._doubts = threads.submit(_examine, source, model, decoders)
        threads.shutdown(wait=False)

    def wait(self) -> None:
        """Wait for its end, however it ends: Python's own would cut it off, with a traceback."""
        futures.wait([self._doubts])

    def tell(self, observer: Observer) -> tuple[str, ...]:
        """Wait for its end, say what is doubtful before hours are spent on more, and return it.

        Raises:
            ModelError: if the model cannot be used.
        """
        doubts = self._doubts.result()
        for doubt in doubts:
            observer.tell(f"WARNING: {doubt.message}; {doubt.remedy}")
        return tuple(f"{doubt.message}; {doubt.remedy}" for doubt in doubts)


def _examine(source: Source, model: FeatureModel, decoders: SharedPool | None) -> list[Doubt]:
    refs: list[ImageRef] = []
    if decoders:
        with contextlib.suppress(InputError, OSError):  # The pipeline tells what is wrong there.
            refs = source.find_some(MAX_REAL)
    return examine_model(model, refs, decoders, source.reader)
