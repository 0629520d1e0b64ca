"""The model: a SavedModel with the TF-Hub image feature vector interface, on one of two engines.

TensorFlow and OpenVINO are imported on first use only, so that commands that need no model start at
once. The interface is described in `transforms.contract`.
"""

from __future__ import annotations

import functools
import importlib
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transforms.saved_model import (
    ModelError,
    fetch_model,
    fingerprint_model,
    read_weights_note,
)
from transforms.settings import Engine, Precision, count_cpus
from transforms.tensorflow_engine import check_gpu


@dataclass(frozen=True)
class FeatureModel:
    """A loaded model.

    Attributes:
        handle: where it came from.
        fingerprint: SHA-256, in hex, over the SavedModel's graph, variables and assets.
        input_size: S, width and height of its input in pixels.
        dimension: D, length of its output.
        batch_size: images in each call; the last batch is padded.
        entry: how it is called, `__call__(training=False)` or `serving_default`.
        weights: what `beamvec model export` noted of the weights, such as `random`; None for
            models from elsewhere.
        load_id: unique to this load, so that loads can be counted.
        call: uint8 [batch_size, S, S, 3] RGB -> float32 [batch_size, D].
    """

    handle: str
    fingerprint: str
    input_size: int
    dimension: int
    batch_size: int
    entry: str
    weights: str | None
    load_id: str
    call: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

    def embed(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
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
        """Embed like `embed`; return the features, and the seconds of all calls of the model."""
        features = np.empty((len(pixels), self.dimension), np.float32)

        def embed_batch(start: int) -> float:
            begin = time.perf_counter()
            batch = pixels[start : start + self.batch_size]
            missing = self.batch_size - len(batch)
            padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else batch
            output = self.call(padded)
            if output.shape != (self.batch_size, self.dimension):
                raise ModelError(
                    f"the model returned features of shape {list(output.shape)} for "
                    f"{self.batch_size} images; expected [{self.batch_size}, {self.dimension}]"
                )
            features[start : start + len(batch)] = output[: len(batch)]
            return time.perf_counter() - begin

        starts = range(0, len(pixels), self.batch_size)
        return features, sum(_infer_threads().map(embed_batch, starts))


@functools.cache
def _infer_threads() -> ThreadPoolExecutor:
    """Return the threads that call the models of this process, one for each core.

    A chunk's batches go to whichever is free, so that the last chunks of a run keep all cores busy.
    """
    return ThreadPoolExecutor(count_cpus(), "infer")


_load_lock = threading.Lock()


def load_model(
    handle: str,
    batch_size: int,
    precision: Precision = "float32",
    engine: Engine = "tensorflow",
    require_gpu: bool = False,
) -> FeatureModel:
    """Load a model once per process, whatever the number of threads that ask for it.

    Args:
        handle: a TF-Hub or Kaggle URL, or the path of a SavedModel on any Beam filesystem.
        batch_size: images in each call, at least 2: TensorFlow has other kernels for one image,
            with other rounding.
        precision: what most of the model computes in; its output is float32 always.
        engine: what runs it.
        require_gpu: whether to refuse a machine on which TensorFlow sees no GPU.

    Raises:
        ModelError: if it cannot be fetched, is no image feature vector model, or this machine has
            no use for the precision, or lacks a GPU that is required.
    """
    if require_gpu:
        check_gpu()
    with _load_lock:
        return _load_once(handle, batch_size, precision, engine)


@functools.cache
def _load_once(handle: str, batch_size: int, precision: Precision, engine: Engine) -> FeatureModel:
    path = fetch_model(handle)
    fingerprint = fingerprint_model(path)
    compile_model = importlib.import_module(f"transforms.{engine}_engine").compile_model
    compiled = compile_model(path, handle, batch_size, precision)
    return FeatureModel(
        handle=handle,
        fingerprint=fingerprint,
        input_size=compiled.input_size,
        dimension=compiled.dimension,
        batch_size=batch_size,
        entry=compiled.entry,
        weights=read_weights_note(path),
        load_id=uuid.uuid4().hex,
        call=compiled.call,
    )
