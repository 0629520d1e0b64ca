"""What a run is to do: `ExtractConfig`, which the arguments of `extract` and the flags become."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from beamvec.embeddings.layout import Layout
from beamvec.embeddings.schema import FORMAT_VERSION
from beamvec.embeddings.settings import Settings
from beamvec.errors import ArgumentError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.decoding.limits import DEFAULT_MAX_FILE_SIZE, MAX_PIXELS
from beamvec.transforms.decoding.resize import choose_resizer
from beamvec.transforms.files import storage
from beamvec.transforms.inference.config import ModelConfig, choose_device, make_given
from beamvec.transforms.inputs.registry import make_source
from beamvec.transforms.inputs.source import Source

DEFAULT_CHUNK_SIZE = 128
DEFAULT_ROWS_PER_SHARD = 50_000
DEFAULT_MAX_FAILURE_RATIO = 0.01

_RANGES = {
    "chunk_size": (1, 100_000),
    "rows_per_shard": (1, 10_000_000),
    "max_file_size": (1, 1 << 40),
    "max_pixels": (1, 1 << 34),
    "max_failure_ratio": (0.0, 1.0),
}


@dataclass(frozen=True)
class ExtractConfig:
    """What a run is to do; see `beamvec.extract` for what each field means.

    Raises:
        ArgumentError: naming the argument, its value and what it may be.
    """

    source: Source
    output: str
    model: ModelConfig
    chunk_size: int = DEFAULT_CHUNK_SIZE
    rows_per_shard: int = DEFAULT_ROWS_PER_SHARD
    max_file_size: int = DEFAULT_MAX_FILE_SIZE
    max_pixels: int = MAX_PIXELS
    max_failure_ratio: float = DEFAULT_MAX_FAILURE_RATIO
    calibration_images: str = ""
    allow_low_fidelity: bool = False
    append: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.output:
            raise ArgumentError("`output` is empty; it takes the dataset's folder")
        check_ranges(vars(self))
        if self.calibration_images and self.model.precision != "int8":
            raise ArgumentError("`calibration_images` is for `precision=int8` only")
        if self.append and self.overwrite:
            raise ArgumentError("`append=True` and `overwrite=True` exclude each other")

    @property
    def asked(self) -> Literal["", "append", "overwrite"]:
        """What is to be done with a dataset that is there."""
        return "append" if self.append else "overwrite" if self.overwrite else ""

    @property
    def layout(self) -> Layout:
        """The paths in the output folder."""
        return Layout(self.output)

    @property
    def places(self) -> list[tuple[str, str]]:
        """Where the run reads and writes: names of arguments, and URIs."""
        return [*((self.source.kind, name) for name in self.source.names), ("output", self.output)]

    def check(self) -> ExtractConfig:
        """Look at the input and at where the output is; return the configuration to run with.

        Raises:
            ArgumentError: if the input names no image, or there is no filesystem for a URI.
        """
        output = find_output(self.output)
        return replace(self, source=replace(self.source, output=output).check(), output=output)

    def make_settings(self, fingerprint: str, said: ModelSpec) -> Settings:
        """Return every setting that changes a byte of the dataset.

        Args:
            fingerprint: of the model's files.
            said: what is said of the model, beside it and for this run.
        """
        return Settings(
            fingerprint=fingerprint,
            said=said,
            precision=self.model.precision,
            engine=self.model.engine or "",
            rows_per_shard=self.rows_per_shard,
            max_file_size=self.max_file_size,
            max_pixels=self.max_pixels,
            resizer=choose_resizer(),
            xla=self.model.xla,
            columns={field.name: str(field.type) for field in self.source.columns},
            format_version=FORMAT_VERSION,
        )


def check_ranges(arguments: Mapping[str, Any]) -> None:
    """Raise `ArgumentError` for a number that is too small or too large, of those given by name."""
    for name, (low, high) in _RANGES.items():
        if name in arguments and not low <= arguments[name] <= high:
            raise ArgumentError(
                f"`{name}={arguments[name]}` is out of range; it takes {low} to {high}"
            )


def make_config(arguments: Mapping[str, Any]) -> ExtractConfig:
    """Make a configuration of the arguments of `beamvec.extract`, by name.

    Raises:
        ArgumentError: naming the argument, its value and what it may be.
    """
    own = ("output", "calibration_images", *_RANGES, "allow_low_fidelity", "append", "overwrite")
    values = {name: arguments[name] for name in own if name in arguments}
    for name in ("output", "calibration_images"):
        values[name] = os.fspath(values.get(name) or "")
    return ExtractConfig(
        source=make_source(arguments), model=make_model_config(arguments), **values
    )


def make_model_config(arguments: Mapping[str, Any]) -> ModelConfig:
    """Make the `ModelConfig` of the arguments of `beamvec.extract`, by name."""
    names = {"model": "handle", "engine": "engine", "precision": "precision"}
    names |= {"batch_size": "batch_size", "trust_model": "trusted", "xla": "xla"}
    values = {field: arguments[name] for name, field in names.items() if name in arguments}
    if "handle" in values:
        values["handle"] = os.fspath(values["handle"])
    given = make_given(
        arguments.get("spec"),
        resize=arguments.get("resize"),
        color_profile=arguments.get("color_profile"),
    )
    device = choose_device(bool(arguments.get("require_gpu")))
    return ModelConfig(device=device, given=given, **values)


def find_output(output: str) -> str:
    """Check that there is a filesystem for an output folder, and return its full path.

    Raises:
        ArgumentError: if there is none.
    """
    try:
        storage.check_store(output)
    except OSError as error:
        raise ArgumentError(f"`output={output}`: {error}") from error
    if not storage.is_local(output):
        return output.rstrip("/")
    return os.path.abspath(os.path.expanduser(output))
