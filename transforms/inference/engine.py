"""What an engine is: `Engine`. The engines there are stand in `registry`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from beamvec.errors import ArgumentError

if TYPE_CHECKING:
    from beamvec.model_spec import ModelSpec
    from beamvec.transforms.inference.config import ModelConfig
    from beamvec.transforms.inference.description import Description
    from beamvec.transforms.inference.model_files import ModelFiles, ModelFormat

Precision = Literal["float32", "bfloat16", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True)
class CompiledModel:
    """A model that an engine has made ready for batches of one shape.

    Attributes:
        spec: its contract, complete.
        entry: how it is called, such as `__call__(training=False)` or `serving_default`.
        call: uint8 [batch_size, S, S, 3] RGB -> float32 [batch_size, D]; threads may share it.
    """

    spec: ModelSpec
    entry: str
    call: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Engine:
    """What runs models: a module with one of these, and a line in `registry`.

    Attributes:
        name: of `engine` and `--engine`.
        formats: of the models that it runs.
        precisions: that it computes in, on some machine.
        devices: `any` if it runs without a GPU too, `gpu` if it can use one.
        packages: the distributions that compute, whose versions stand in `run.json`.
        extra: of beamvec that installs them, None if beamvec needs them anyway.
        compile: makes a model ready for batches of one size; it is given what is said of it.
    """

    name: str
    formats: tuple[ModelFormat, ...]
    precisions: tuple[Precision, ...]
    devices: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str | None
    compile: Callable[[ModelFiles, Description, ModelConfig], CompiledModel]

    def check(self, precision: str, device: str) -> None:
        """Raise `ArgumentError` for a precision or a device that it does not have."""
        if precision not in self.precisions:
            raise ArgumentError(
                f"`engine={self.name}` has no `precision={precision}`; it has "
                f"{' and '.join(self.precisions)}"
            )
        if device not in self.devices:
            raise ArgumentError(
                f"`require_gpu=True`: `engine={self.name}` uses no GPU; use `engine=tensorflow`"
            )
