"""Which model is run, and how: `ModelConfig`, a value that can be hashed, compared and sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from beamvec.errors import ArgumentError, ModelError
from beamvec.transforms.inference.engine import PRECISIONS, XLA_CHOICES, Precision, Xla
from beamvec.transforms.inference.fields import check_fields
from beamvec.transforms.inference.model_files import ModelFormat
from beamvec.transforms.inference.registry import ENGINES

Device = Literal["any", "gpu"]

DEFAULT_MODEL = "https://tfhub.dev/google/imagenet/resnet_v2_50/feature_vector/5"
DEFAULT_BATCH_SIZE = 32

_BATCH_SIZES = (2, 4096)

_DEFAULT_ENGINES: Mapping[ModelFormat, str] = {
    "saved_model": "tensorflow",
    "onnx": "onnxruntime",
    "openvino": "openvino",
}


@dataclass(frozen=True)
class Int8Model:
    """A quantised model: what it is, and where its file lies.

    Attributes:
        sha256: of the file, in hex.
        path: local, or on any Beam filesystem; the same file elsewhere is the same model.
    """

    sha256: str
    path: str = field(compare=False)


@dataclass(frozen=True)
class ModelConfig:
    """Which model is run, and how.

    Attributes:
        handle: a URL of TF-Hub or Kaggle, or the path of a model on any Beam filesystem.
        engine: what runs it, a name of `ENGINES`; None for the one of the model's format.
        precision: what most of it computes in; its output is float32 always.
        batch_size: images in each call, at least 2: TensorFlow has other kernels for one image,
            with other rounding.
        device: `gpu` refuses a machine on which the engine sees no GPU.
        given: fields of `ModelSpec` that go before what is said beside the model, sorted by name.
        trusted: whether a model may read and write files; see `trust`.
        int8: of precision int8, the model as it was quantised; None until that is done.
        xla: whether XLA compiles it; `auto` must be settled before it is loaded, see `choose_xla`.

    Raises:
        ArgumentError: for what no engine has, or a batch size out of range.
    """

    handle: str = DEFAULT_MODEL
    engine: str | None = None
    precision: Precision = "float32"
    batch_size: int = DEFAULT_BATCH_SIZE
    device: Device = "any"
    given: tuple[tuple[str, Any], ...] = ()
    trusted: bool = False
    int8: Int8Model | None = None
    xla: Xla = "off"

    def __post_init__(self) -> None:
        low, high = _BATCH_SIZES
        if not self.handle:
            raise ArgumentError("`model` is empty; it takes a URL or the path of a model")
        if not low <= self.batch_size <= high:
            raise ArgumentError(
                f"`batch_size={self.batch_size}` is out of range; it takes {low} to {high}"
            )
        if self.precision not in PRECISIONS:
            raise ArgumentError(
                f"`precision={self.precision}` is unknown; it takes {', '.join(PRECISIONS)}"
            )
        if self.xla not in XLA_CHOICES:
            raise ArgumentError(f"`xla={self.xla}` is unknown; it takes {', '.join(XLA_CHOICES)}")
        if self.engine is None:
            return
        engine = ENGINES.get(self.engine)
        if engine is None:
            raise ArgumentError(
                f"`engine={self.engine}` is none of beamvec's; it takes {', '.join(ENGINES)}"
            )
        engine.check(self.precision, self.device, self.xla)

    def require_settled(self) -> ModelConfig:
        """Return the same; raise `ArgumentError` if it is open whether XLA compiles the model."""
        if self.xla == "auto":
            raise ArgumentError("`xla=auto` is settled where a run begins; give on or off here")
        return self

    def choose_engine(self, format_: ModelFormat) -> ModelConfig:
        """Return the same with an engine, that of the model's format if none is named.

        Raises:
            ArgumentError: if that engine cannot do what is asked for.
            ModelError: if the engine that is named does not run such models.
        """
        if self.engine is None:
            is_int8 = self.precision == "int8"
            return replace(self, engine="openvino" if is_int8 else _DEFAULT_ENGINES[format_])
        if format_ not in ENGINES[self.engine].formats:
            able = [f"`engine={name}`" for name, each in ENGINES.items() if format_ in each.formats]
            raise ModelError(
                f"`engine={self.engine}` does not run {self.handle}, whose format is {format_}; "
                f"use {' or '.join(able)}"
            )
        return self


def make_given(
    spec: Mapping[str, Any] | None = None, **flags: str | None
) -> tuple[tuple[str, Any], ...]:
    """Return fields of `ModelSpec` that are given for a run, as `ModelConfig` has them.

    Args:
        spec: fields by name, which may be texts.
        flags: those that have an argument of their own, None where it is not given.

    Raises:
        ArgumentError: naming the field, its value and what it may be.
    """
    try:
        given = check_fields(spec or {})
    except ValueError as error:
        raise ArgumentError(f"`spec`: {error}") from error
    for name, value in flags.items():
        try:
            given |= check_fields({} if value is None else {name: value})
        except ValueError as error:
            asked = f"{name}={value}"
            raise ArgumentError(str(error).replace(asked, f"`{asked}`")) from error
    return tuple(sorted(given.items()))


def choose_device(require_gpu: bool) -> Device:
    """Return the device for the argument `require_gpu`."""
    return "gpu" if require_gpu else "any"
