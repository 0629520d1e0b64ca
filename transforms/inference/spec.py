"""What a model is and how it is run: `ModelSpec`, a value that can be hashed, compared and sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beamvec.errors import ArgumentError
from beamvec.transforms.inference.engine import Precision
from beamvec.transforms.inference.registry import ENGINES

Device = Literal["any", "gpu"]

DEFAULT_MODEL = "https://tfhub.dev/google/imagenet/resnet_v2_50/feature_vector/5"
DEFAULT_BATCH_SIZE = 32
DEFAULT_ENGINE = "tensorflow"

_BATCH_SIZES = (2, 4096)


def choose_device(require_gpu: bool) -> Device:
    """Return the device for the argument `require_gpu`."""
    return "gpu" if require_gpu else "any"


@dataclass(frozen=True)
class ModelSpec:
    """A model, and how it is run.

    Attributes:
        handle: a TF-Hub or Kaggle URL, or the path of a SavedModel on any Beam filesystem.
        engine: what runs it, a name of `ENGINES`.
        precision: what most of it computes in; its output is float32 always.
        batch_size: images in each call, at least 2: TensorFlow has other kernels for one image,
            with other rounding.
        device: `gpu` refuses a machine on which the engine sees no GPU.

    Raises:
        ArgumentError: for what no engine has, or a batch size out of range.
    """

    handle: str = DEFAULT_MODEL
    engine: str = DEFAULT_ENGINE
    precision: Precision = "float32"
    batch_size: int = DEFAULT_BATCH_SIZE
    device: Device = "any"

    def __post_init__(self) -> None:
        low, high = _BATCH_SIZES
        if not self.handle:
            raise ArgumentError("`model` is empty; it takes a URL or the path of a SavedModel")
        if not low <= self.batch_size <= high:
            raise ArgumentError(
                f"`batch_size={self.batch_size}` is out of range; it takes {low} to {high}"
            )
        engine = ENGINES.get(self.engine)
        if engine is None:
            raise ArgumentError(
                f"`engine={self.engine}` is none of beamvec's; it takes {', '.join(ENGINES)}"
            )
        engine.check(self.precision, self.device)
