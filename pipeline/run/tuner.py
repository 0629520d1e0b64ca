"""Trying ways to run a model on the first images of an input, one after the other: `Tuner`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from beamvec.embeddings import open_dataset, schema
from beamvec.pipeline.run.config import make_model_config
from beamvec.pipeline.run.trial import Trial, TrialError, try_variant
from beamvec.transforms.inference.compare_int8 import Nearness, measure_nearness
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inference.registry import ENGINES
from beamvec.transforms.machine import count_cpus

_RUN_S = 8.0
"""How long a variant is to run once it has started, going by the pace of float32."""

_LEAST_IMAGES, _MOST_IMAGES = 384, 8_192
"""Of each; int8 wants 224 to calibrate on, and others to compare."""

_GAINS: Mapping[str, float] = {"bfloat16": 2.0, "float16": 4.0, "int8": 3.0}
"""By how much a precision may be faster than float32, to choose how many images it gets."""

_CHUNK_SIZE = 32
"""Small, so that a short run has many marks to tell its pace by."""


@dataclass(frozen=True)
class Variant:
    """A way to run a model.

    Attributes:
        engine: what runs it.
        precision: what it computes in.
        batch_size: images in a call of the model; None for the default.
        workers: worker threads of the local runner; None for as many as there are cores.
    """

    engine: str
    precision: str
    batch_size: int | None = None
    workers: int | None = None

    @property
    def flags(self) -> list[str]:
        """The flags of `beamvec extract` for it."""
        flags = ["--engine", self.engine, "--precision", self.precision]
        flags += ["--batch-size", str(self.batch_size)] if self.batch_size else []
        return flags + self.beam_flags

    @property
    def beam_flags(self) -> list[str]:
        """Those of Beam among them."""
        return [f"--direct_num_workers={self.workers}"] if self.workers else []

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `beamvec.extract` for it."""
        chosen = {"engine": self.engine, "precision": self.precision}
        return chosen | ({"batch_size": self.batch_size} if self.batch_size else {})


class Tried(NamedTuple):
    """A variant, and what came of it.

    Attributes:
        variant: what was tried.
        trial: what came of it, None if it cannot be run here.
        nearness: of its embeddings to those in float32 by the format's own engine; None for these
            themselves, and where there are too few images to tell.
        reason: why it cannot be run, or is none to take.
    """

    variant: Variant
    trial: Trial | None = None
    nearness: Nearness | None = None
    reason: str = ""

    @property
    def rate(self) -> float:
        """Images/s in the steady state, 0 if it cannot be run, or is none to take."""
        return self.trial.images_per_s if self.trial and not self.reason else 0.0


class Tuner:
    """Tries variants on the first images of an input.

    Args:
        arguments: of `beamvec.extract`: input and model.
        folder: takes the datasets that are made on the way.
    """

    def __init__(self, arguments: Mapping[str, Any], folder: str):
        self._arguments = arguments
        self._output = os.path.join(folder, "out")
        self._float32: dict[str, npt.NDArray[np.float32]] = {}
        self._pace = 0.0

    def try_one(self, variant: Variant) -> Tried:
        """Try a variant; what differs from float32 is told once float32 has been tried."""
        arguments = {
            **self._arguments,
            **variant.arguments,
            "output": self._output,
            "overwrite": True,
            "chunk_size": _CHUNK_SIZE,
            "limit": self._count_images(variant),
            "max_failure_ratio": 1.0,
            # The table says how low it is.
            "allow_low_fidelity": variant.precision == "int8",
        }
        if variant.precision != "int8":
            arguments.pop("calibration_images", None)
        try:
            trial = try_variant(arguments, variant.beam_flags)
        except TrialError as error:
            return Tried(variant, reason=str(error))
        vectors = _read_vectors(self._output)
        if variant.precision == "float32" and not self._float32:
            self._float32, self._pace = vectors, trial.images_per_s
            return Tried(variant, trial)
        return Tried(variant, trial, self._compare(vectors), self._find_lost(vectors))

    def _count_images(self, variant: Variant) -> int:
        expected = self._pace * _GAINS.get(variant.precision, 1.0) * _RUN_S
        most = self._arguments.get("limit") or _MOST_IMAGES
        return round(min(max(expected, _LEAST_IMAGES), most))

    def _find_lost(self, other: dict[str, npt.NDArray[np.float32]]) -> str:
        """Say how many images have an embedding in float32 only; all that it had were tried."""
        lost = len(self._float32.keys() - other.keys())
        if not lost:
            return ""
        return f"it gives no embedding of {lost:,} images that have one in float32"

    def _compare(self, other: dict[str, npt.NDArray[np.float32]]) -> Nearness | None:
        both = sorted(self._float32.keys() & other.keys())
        if not both:
            return None
        left, right = (np.stack([each[uri] for uri in both]) for each in (self._float32, other))
        return measure_nearness(left, right)


def list_variants(arguments: Mapping[str, Any]) -> Iterator[Variant]:
    """Yield the engines and precisions that run models of a format, its own engine first.

    Args:
        arguments: of `beamvec.extract`; an `engine` or a `precision` among them leaves out others,
            but for float32, to which they are compared.

    Raises:
        ModelError: if there is no such model.
    """
    asked, precision = arguments.get("engine"), arguments.get("precision")
    config = make_model_config({**arguments, "precision": "float32"})
    format_ = ModelFiles.fetch(config.handle).format
    own = config.choose_engine(format_).engine
    for engine in sorted(ENGINES.values(), key=lambda engine: engine.name != own):
        if format_ in engine.formats and asked in (None, engine.name):
            for each in engine.precisions:
                if precision in (None, each) or each == "float32":
                    yield Variant(engine.name, each)


def vary_threads(best: Variant) -> list[Variant]:
    """Return a variant with larger batches, and with other worker threads."""
    cores = count_cpus()
    return [replace(best, batch_size=64), replace(best, workers=cores // 2 if cores > 1 else 2)]


def _read_vectors(output: str) -> dict[str, npt.NDArray[np.float32]]:
    dataset = open_dataset(output)
    batch = dataset.take(range(len(dataset)))
    return dict(zip(batch.metadata[schema.URI].to_pylist(), batch.vectors, strict=True))
