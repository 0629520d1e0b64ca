"""OpenVINO as the engine: SavedModels, ONNX files and its own IR, on CPUs."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.inference.description import Description
from beamvec.transforms.inference.engine import CompiledModel, Engine
from beamvec.transforms.inference.int8_file import read_int8
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inference.openvino_graph import OpenvinoGraph
from beamvec.transforms.machine import has_fast_int8

if TYPE_CHECKING:
    from beamvec.transforms.inference.config import ModelConfig

_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""Values of OpenVINO's property INFERENCE_PRECISION_HINT: of int8, for what is not quantised."""

_ADVICE = {
    "saved_model": "; use `engine=tensorflow`",
    "onnx": "; use `engine=onnxruntime`",
    "openvino": "",
}
"""What else runs a model of each format."""


def import_openvino() -> Any:
    """Import OpenVINO, or raise a `ModelError` that says how to install it."""
    try:
        import openvino
    except ImportError as error:
        raise ModelError(
            "`engine=openvino` needs the package openvino: pip install 'beamvec[openvino]'"
        ) from error
    return openvino


def compile_model(files: ModelFiles, said: Description, config: ModelConfig) -> CompiledModel:
    """Read a model, for batches of one size.

    As many calls as there are streams run at the same time, each on cores of its own.

    Raises:
        ModelError: if it is no feature extractor, or not as is said of it, or the precision is of
            no use here.
    """
    core = import_openvino().Core()
    check_precision(config.precision)
    with _naming_faults(files):
        is_int8 = config.precision == "int8"
        model, spec = (
            _read_int8(core, config) if is_int8 else read_model(files, said, config.batch_size)
        )
        compiled = core.compile_model(model, "CPU", make_hints(config.precision))
    requests = threading.local()

    def call(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        requests.own.infer({0: pixels}, share_inputs=True)
        features: npt.NDArray[np.float32] = requests.own.get_output_tensor(0).data.copy()
        return features

    return CompiledModel(spec, "serving_default" if files.format == "saved_model" else "CPU", call)


def read_model(files: ModelFiles, said: Description, batch_size: int) -> tuple[Any, ModelSpec]:
    """Read a model: uint8 [batch_size, S, S, 3] -> float32 [batch_size, D]; -1 leaves it free.

    Raises:
        ModelError: if it is no feature extractor, or not as is said of it.
    """
    openvino = import_openvino()
    if said.fields.get("signature"):
        raise ModelError("OpenVINO calls serving_default only; use `engine=tensorflow`")
    with _naming_faults(files):
        read = openvino.Core().read_model(files.path)
        model, spec = OpenvinoGraph(openvino, read, files.handle, said).complete(batch_size)
    if not spec.dimension:
        advice = _ADVICE[files.format]
        raise ModelError(
            f"OpenVINO cannot tell how long the features of {files.handle} are{advice}"
        )
    return model, spec


def make_hints(precision: str) -> dict[str, str]:
    """Return the properties that a model is compiled with."""
    return {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": _HINTS[precision]}


def _read_int8(core: Any, config: ModelConfig) -> tuple[Any, ModelSpec]:
    """Read the model that was quantised, for batches of one size."""
    if config.int8 is None:
        raise ModelError(
            "`precision=int8` needs some 350 images of the kind that is to be embedded, to "
            "quantise the model with: give them as `calibration_images`"
        )
    kept = read_int8(config.int8.path, config.int8.sha256)
    model = core.read_model(kept.graph, kept.weights)
    model.reshape([config.batch_size, kept.spec.size, kept.spec.size, 3])
    return model, kept.spec


@contextmanager
def _naming_faults(files: ModelFiles) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # OpenVINO raises what it likes on models that it cannot run.
        raise ModelError(
            f"OpenVINO cannot run the model {files.handle}: {_reason(error)}{_ADVICE[files.format]}"
        ) from error


def _reason(error: Exception) -> str:
    """Return what OpenVINO says, in one line and without its places in C++ files."""
    lines = str(error).splitlines()
    said = " ".join(line for line in lines if not line.startswith(("Exception from", "Check '")))
    return textwrap.shorten(said, 200) or type(error).__name__


def check_precision(precision: str) -> None:
    """Raise `ModelError` for a precision that this machine has no use for."""
    core = import_openvino().Core()
    if precision == "int8" and not has_fast_int8():
        raise ModelError(
            "`precision=int8` would be no faster here: it needs a CPU with AVX512_VNNI, AVX_VNNI "
            "or AMX; use `precision=float32`"
        )
    if precision == "bfloat16" and "BF16" not in core.get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        raise ModelError(
            "`precision=bfloat16` would be no faster here: it needs a CPU with AVX512_BF16 or "
            "AMX; use `precision=float32`"
        )


ENGINE = Engine(
    name="openvino",
    formats=("saved_model", "onnx", "openvino"),
    precisions=("float32", "bfloat16", "int8"),
    devices=("any",),
    packages=("openvino",),
    extra="openvino",
    compile=compile_model,
)
