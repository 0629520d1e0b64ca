"""OpenVINO as the engine: SavedModels, ONNX files and its own IR, on CPUs."""

from __future__ import annotations

import textwrap
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamvec.errors import ModelError
from beamvec.transforms.inference.description import Description
from beamvec.transforms.inference.engine import CompiledModel, Engine
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inference.openvino_graph import OpenvinoGraph

if TYPE_CHECKING:
    from beamvec.transforms.inference.config import ModelConfig

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
"""Values of OpenVINO's property INFERENCE_PRECISION_HINT."""

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
    openvino, handle = import_openvino(), files.handle
    core = openvino.Core()
    _check_precision(core, config.precision)
    if said.fields.get("signature"):
        raise ModelError("OpenVINO calls serving_default only; use `engine=tensorflow`")
    try:
        graph = OpenvinoGraph(openvino, core.read_model(files.path), handle, said)
        model, spec = graph.complete(config.batch_size)
        hints = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": _HINTS[config.precision],
        }
        compiled = core.compile_model(model, "CPU", hints)
    except ModelError:
        raise
    except Exception as error:  # OpenVINO raises what it likes on models that it cannot run.
        raise ModelError(
            f"OpenVINO cannot run the model {handle}: {_reason(error)}{_ADVICE[files.format]}"
        ) from error
    if not spec.dimension:
        raise ModelError(
            f"OpenVINO cannot tell how long the features of {handle} are{_ADVICE[files.format]}"
        )
    requests = threading.local()

    def call(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        requests.own.infer({0: pixels}, share_inputs=True)
        features: npt.NDArray[np.float32] = requests.own.get_output_tensor(0).data.copy()
        return features

    return CompiledModel(spec, "serving_default" if files.format == "saved_model" else "CPU", call)


def _reason(error: Exception) -> str:
    """Return what OpenVINO says, in one line and without its places in C++ files."""
    lines = str(error).splitlines()
    said = " ".join(line for line in lines if not line.startswith(("Exception from", "Check '")))
    return textwrap.shorten(said, 200) or type(error).__name__


def _check_precision(core: Any, precision: str) -> None:
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
    precisions=("float32", "bfloat16"),
    devices=("any",),
    packages=("openvino",),
    extra="openvino",
    compile=compile_model,
)
