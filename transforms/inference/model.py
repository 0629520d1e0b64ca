"""The model: a SavedModel with the TF-Hub image feature vector interface, on one of two engines.

TensorFlow and OpenVINO are imported on first use only, so that commands that need no model start at
once. The interface is described in `beamvec.transforms.inference.contract`.
"""

from __future__ import annotations

import functools
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beamvec.errors import ModelError
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inference.registry import ENGINES
from beamvec.transforms.inference.spec import ModelSpec
from beamvec.transforms.machine import count_cpus


@dataclass(frozen=True)
class FeatureModel:
    """A loaded model.

    Attributes:
        spec: what it is, and how it is run.
        fingerprint: SHA-256, in hex, over the SavedModel's graph, variables and assets.
        input_size: S, width and height of its input in pixels.
        dimension: D, length of its output.
        entry: how it is called, `__call__(training=False)` or `serving_default`.
        weights: what `beamvec model export` noted of the weights, such as `random`; None for
            models from elsewhere.
        load_id: unique to this load, so that loads can be counted.
        call: uint8 [B, S, S, 3] RGB -> float32 [B, D], B the
            batch size of the spec; the last batch is padded.
    """

    spec: ModelSpec
    fingerprint: str
    input_size: int
    dimension: int
    entry: str
    weights: str | None
    load_id: str
    call: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

    def embed_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed any number of images, in batches of one fixed shape, as many at once as cores.

        Args:
            pixels: uint8 [n, S, S, 3] RGB.

        Returns:
            float32 [n, D], in the same order. With ResNet-v2-50 on a CPU a row is the same to the
            last bit whatever the other rows, its place and the batch size; a model whose layers
            do not fill vector registers may round differently from place to place.

        Raises:
            ModelError: if the model returns another number of rows than it was given.
        """
        return self.embed_timed(pixels)[0]

    def embed_timed(self, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], float]:
        """Embed like `embed_pixels`; return the features, and the seconds of all calls."""
        size = self.spec.batch_size
        features = np.empty((len(pixels), self.dimension), np.float32)

        def embed_batch(start: int) -> float:
            begin = time.perf_counter()
            batch = pixels[start : start + size]
            missing = size - len(batch)
            padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else batch
            output = self.call(padded)
            if output.shape != (size, self.dimension):
                raise ModelError(
                    f"the model returned features of shape {list(output.shape)} for "
                    f"{size} images; expected [{size}, {self.dimension}]"
                )
            features[start : start + len(batch)] = output[: len(batch)]
            return time.perf_counter() - begin

        starts = range(0, len(pixels), size)
        return features, sum(_infer_threads().map(embed_batch, starts))


@functools.cache
def _infer_threads() -> ThreadPoolExecutor:
    """Return the threads that call the models of this process, one for each core.

    A chunk's batches go to whichever is free, so that the last chunks of a run keep all cores busy.
    """
    return ThreadPoolExecutor(count_cpus(), "infer")


_load_lock = threading.Lock()


def load_model(spec: ModelSpec) -> FeatureModel:
    """Load a model once per process, whatever the number of threads that ask for it.

    Raises:
        ModelError: if it cannot be fetched, is no image feature vector model, or this machine has
            no use for the precision, or lacks a GPU that is required.
    """
    with _load_lock:
        return _load_once(spec)


@functools.cache
def _load_once(spec: ModelSpec) -> FeatureModel:
    files = ModelFiles.fetch(spec.handle)
    fingerprint = files.fingerprint()
    compiled = ENGINES[spec.engine].compile(files, spec)
    return FeatureModel(
        spec=spec,
        fingerprint=fingerprint,
        input_size=compiled.input_size,
        dimension=compiled.dimension,
        entry=compiled.entry,
        weights=files.read_weights_note(),
        load_id=uuid.uuid4().hex,
        call=compiled.call,
    )
