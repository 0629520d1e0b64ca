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

Xla = Literal["off", "on", "auto"]
XLA_CHOICES: tuple[Xla, ...] = ("off", "on", "auto")

Precision = Literal["float32", "bfloat16", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True)
class CompiledModel:
    """A model that an engine has made ready for batches of one shape.

    Attributes:
        spec: its contract, complete.
        entry: how it is called, such as `__call__(training=False)` or `serving_default`.
        call: uint8 [batch_size, S, S, 3] RGB -> float32 [batch_size, D]; threads may share it.
        in_flight: how many threads call it at a time; 0 for one a core. On a GPU two suffice: one
            batch is copied while the other is computed, and more would only take memory.
    """

    spec: ModelSpec
    entry: str
    call: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
    in_flight: int = 0


GPU_IN_FLIGHT = 2
"""`CompiledModel.in_flight` of a model on a GPU."""


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
        has_xla: whether XLA can compile its models.
    """

    name: str
    formats: tuple[ModelFormat, ...]
    precisions: tuple[Precision, ...]
    devices: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str | None
    compile: Callable[[ModelFiles, Description, ModelConfig], CompiledModel]
    has_xla: bool = False

    def check(self, precision: str, device: str, xla: Xla = "off") -> None:
        """Raise `ArgumentError` for a precision, a device or a compiler that it does not have."""
        if precision not in self.precisions:
            raise ArgumentError(
                f"`engine={self.name}` has no `precision={precision}`; it has "
                f"{' and '.join(self.precisions)}"
            )
        if device not in self.devices:
            raise ArgumentError(
                f"`require_gpu=True`: `engine={self.name}` uses no GPU; use `engine=tensorflow`"
            )
        if xla == "on" and not self.has_xla:
            raise ArgumentError(
                f"`xla=on`: XLA is TensorFlow's, and `engine={self.name}` has a compiler of its "
                "own; leave it out, or use `engine=tensorflow`"
            )
        if xla == "on" and precision == "bfloat16":
            # What XLA compiles, TensorFlow does not rewrite: it would be float32 without a word.
            raise ArgumentError(
                "`xla=on` has no `precision=bfloat16`; use float32, float16 on a GPU, or `xla=off`"
            )
