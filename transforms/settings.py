"""Defaults and choices, importable without Beam or TensorFlow."""

from __future__ import annotations

import os
from typing import Literal

Resize = Literal["stretch", "crop", "pad"]
RESIZE_MODES: tuple[Resize, ...] = ("stretch", "crop", "pad")

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")

Engine = Literal["tensorflow", "openvino"]
ENGINES: tuple[Engine, ...] = ("tensorflow", "openvino")

DEFAULT_MODEL = "https://tfhub.dev/google/imagenet/resnet_v2_50/feature_vector/5"
DEFAULT_BATCH_SIZE = 32
DEFAULT_CHUNK_SIZE = 128
DEFAULT_ROWS_PER_SHARD = 50_000
DEFAULT_MAX_FAILURE_RATIO = 0.01

DEFAULT_DUPLICATE_COSINE = 0.98

PARENT_FOLDER = "parent-folder"
"""Takes labels for a probe from the folder that an image is in."""

HEADS = ("linear", "mlp")
"""Classifiers for a probe."""

KERAS_MODULES = {"ResNet50V2": "resnet_v2", "ResNet50": "resnet"}
"""Architectures that can be exported, and the module of `keras.applications` that has each."""


def count_cpus() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
