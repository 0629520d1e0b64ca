"""Whether XLA shall compile a model, where that is left open: `choose_xla`.

XLA rounds otherwise, so the choice is made once, by whoever starts a run, and kept with the
dataset; a later run is told, and times nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from beamvec.errors import ArgumentError, ModelError
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.engine import Xla
from beamvec.transforms.inference.model import FeatureModel, load_apart
from beamvec.transforms.inference.registry import ENGINES
from beamvec.transforms.inference.tensorflow_engine import has_gpu

_LEAST_GAIN = 1.05
"""Below this a timing may be chance, and compiling takes a while at each start."""

_BATCHES, _TIMES = 8, 3


def time_model(model: FeatureModel) -> float:
    """Return the seconds of a batch of noise: the median of some rounds, after one to warm up."""
    size, side = model.config.batch_size, model.input_size
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (size, side, side, 3), dtype=np.uint8)

    def time_round() -> float:
        begin = time.perf_counter()
        with ThreadPoolExecutor(_BATCHES) as threads:  # As many in flight as the model takes.
            list(threads.map(lambda _: model.embed_pixels(pixels), range(_BATCHES)))
        return (time.perf_counter() - begin) / _BATCHES

    return statistics.median([time_round() for _ in range(1 + _TIMES)][1:])


def choose_xla(
    config: ModelConfig,
    timing: Callable[[FeatureModel], float] = time_model,
    sees_gpu: Callable[[], bool] = has_gpu,
) -> Xla:
    """Settle `xla=auto` on this machine: on where a GPU is clearly faster with it, else off.

    Args:
        config: of the model, with its engine.
        timing: returns the seconds of a batch.
        sees_gpu: tells whether TensorFlow can use a GPU. On CPUs XLA is slower, or no faster.

    Raises:
        ModelError: if the model cannot be used without XLA either.
    """
    try:
        ENGINES[config.engine or ""].check(config.precision, config.device, "on")
    except ArgumentError:
        return "off"
    if not sees_gpu():
        return "off"
    plain_s = timing(load_apart(replace(config, xla="off")))
    try:
        compiled_s = timing(load_apart(replace(config, xla="on")))
    except ModelError:  # XLA has not all of TensorFlow's operations.
        return "off"
    return "on" if compiled_s * _LEAST_GAIN < plain_s else "off"
