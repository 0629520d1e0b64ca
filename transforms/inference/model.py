"""The model, loaded: whatever its format and engine, uint8 images in and float32 features out.

Engines are imported on first use only, so that commands that need no model start at once.
"""

from __future__ import annotations

import functools
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.description import Description, describe_model
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inference.registry import ENGINES
from beamvec.transforms.inference.trust import check_trusted
from beamvec.transforms.machine import count_cpus


@dataclass(frozen=True)
class FeatureModel:
    """A loaded model.

    Attributes:
        config: which model it is, and how it is run; with its engine.
        fingerprint: SHA-256, in hex, over the model's files.
        spec: what it wants to see and where its features are, complete.
        source: who says so, for people.
        is_told: whether somebody says what values it wants to see; else [0, 1] is assumed.
        entry: how it is called, such as `__call__(training=False)` or `serving_default`.
        weights: what is noted of the weights, such as `random`; None if nothing is.
        load_id: unique to this load, so that loads can be counted.
        call: uint8 [B, S, S, 3] RGB -> float32 [B, D], B the
            batch size of the config; the last batch is padded.
        in_flight: how many threads call it at a time; 0 for one a core.
    """

    config: ModelConfig
    fingerprint: str
    spec: ModelSpec
    source: str
    is_told: bool
    entry: str
    weights: str | None
    load_id: str
    call: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
    in_flight: int = 0

    @property
    def input_size(self) -> int:
        """S, width and height of the input in pixels."""
        return self.spec.size

    @property
    def dimension(self) -> int:
        """D, length of an embedding."""
        return self.spec.dimension

    def embed_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed any number of images, in batches of one fixed shape, `in_flight` at once.

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

    def embed_timed(
        self, pixels: npt.NDArray[np.uint8], on_batch: Callable[[int], Any] | None = None
    ) -> tuple[npt.NDArray[np.float32], float]:
        """Embed like `embed_pixels`; return the features, and the seconds of all calls.

        Args:
            pixels: uint8 [n, S, S, 3] RGB.
            on_batch: is called with the number of images of each batch that is done, in threads.
        """
        size = self.config.batch_size
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
            if on_batch:
                on_batch(len(batch))
            return time.perf_counter() - begin

        starts = range(0, len(pixels), size)
        return features, sum(
            _infer_threads(self.in_flight or count_cpus()).map(embed_batch, starts)
        )


@functools.cache
def _infer_threads(count: int) -> ThreadPoolExecutor:
    """Return the threads that call the models of this process: one for each core, or two a GPU.

    A chunk's batches go to whichever is free, so that the last chunks of a run keep all cores busy.
    """
    return ThreadPoolExecutor(count, "infer")


class _Look(NamedTuple):
    """What a loaded model follows from, beside its configuration: files may change."""

    files: ModelFiles
    said: Description
    fingerprint: str


_load_lock = threading.Lock()
_loaded: dict[ModelConfig, tuple[_Look, FeatureModel]] = {}


def load_model(config: ModelConfig, wanted: tuple[str, ModelSpec] | None = None) -> FeatureModel:
    """Load a model once per process, whatever the number of threads that ask for it.

    It is loaded anew when its files, or what is said of it beside them, have changed.

    Args:
        config: which model it is, and how it is run.
        wanted: fingerprint and contract; what is loaded and has them is the model, whatever its
            files are by now.

    Raises:
        ArgumentError: if it is still to be settled whether XLA compiles it.
        ModelError: if it cannot be fetched, is no feature extractor, is not as is said of it, or
            this machine has no use for the precision, or lacks a GPU that is required.
    """
    with _load_lock:
        seen, model = _loaded.get(config.require_settled(), (None, None))
        if model and (model.fingerprint, model.spec) == wanted:
            return model
        look = _look_at(config)
        if model is None or seen != look:
            model = _load(config, look)
            _loaded[config] = look, model
        return model


def load_apart(config: ModelConfig) -> FeatureModel:
    """Load a model like `load_model`, for the caller alone: it goes when the caller drops it."""
    with _load_lock:
        return _load(config, _look_at(config))


def _look_at(config: ModelConfig) -> _Look:
    files = ModelFiles.fetch(config.handle)
    config.choose_engine(files.format)
    said = describe_model(files).override(dict(config.given))
    _check_use(files, said, config)
    return _Look(files, said, files.fingerprint())


def _check_use(files: ModelFiles, said: Description, config: ModelConfig) -> None:
    """Raise `ModelError` for what is said and would change nothing: it was meant to."""
    if said.fields.get("signature") and files.format != "saved_model":
        raise ModelError(
            f"{files.handle}: only SavedModels have signatures; leave signature out of what is "
            f"said of it ({said.source}), and name an output with `spec=output_name=...`"
        )
    if "crop_ratio" in dict(config.given) and said.spec.resize != "crop":
        raise ModelError(
            f"`spec=crop_ratio=...` counts with resize=crop only, and images are to be resized by "
            f"{said.spec.resize}; say `spec=resize=crop` too"
        )


def _load(config: ModelConfig, look: _Look) -> FeatureModel:
    files, said, fingerprint = look
    config = config.choose_engine(files.format)
    if not config.trusted:
        check_trusted(files.handle, files.path)
    compiled = ENGINES[config.engine or ""].compile(files, said, config)
    if files.fingerprint() != fingerprint:
        raise ModelError(f"the model {files.handle} has changed while it was loaded; try again")
    return FeatureModel(
        config=config,
        fingerprint=fingerprint,
        spec=compiled.spec,
        source=said.source,
        is_told=said.tells_values,
        entry=compiled.entry,
        weights=said.notes.get("weights"),
        load_id=uuid.uuid4().hex,
        call=compiled.call,
        in_flight=compiled.in_flight,
    )
