"""OpenVINO as the engine: the same SavedModel, on CPUs, without TensorFlow."""

from __future__ import annotations

import textwrap
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamvec.errors import ModelError
from beamvec.transforms.inference.contract import (
    choose_output,
    read_dimension,
    read_input_size,
)
from beamvec.transforms.inference.engine import CompiledModel, Engine
from beamvec.transforms.inference.model_files import ModelFiles

if TYPE_CHECKING:
    from beamvec.transforms.inference.spec import ModelSpec

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
"""Values of OpenVINO's property INFERENCE_PRECISION_HINT."""


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ModelError(
            "`engine=openvino` needs the package openvino: pip install 'beamvec[openvino]'"
        ) from error
    return openvino


def compile_model(files: ModelFiles, spec: ModelSpec) -> CompiledModel:
    """Read a SavedModel, for batches of one size.

    As many calls as there are streams run at the same time, each on cores of its own.

    Raises:
        ModelError: if it has no serving_default that is an image feature vector, or the precision
            is of no use here.
    """
    openvino, handle = _import_openvino(), files.handle
    core = openvino.Core()
    _check_precision(core, spec.precision)
    try:
        model = core.read_model(files.path)
        size, index = _read_interface(model, handle)
        model.reshape([spec.batch_size, size, size, 3])
        output = model.outputs[index]
        dimension = read_dimension(handle, output.element_type.to_dtype().name, _shape(output))
        hints = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": _HINTS[spec.precision],
        }
        compiled = core.compile_model(_take_pixels(openvino, model), "CPU", hints)
    except ModelError:
        raise
    except Exception as error:  # OpenVINO raises what it likes on models that it cannot run.
        raise ModelError(
            f"OpenVINO cannot run the model {handle}: {_reason(error)}; use `engine=tensorflow`"
        ) from error
    if dimension is None:
        raise ModelError(
            f"OpenVINO cannot tell how long the features of {handle} are; use `engine=tensorflow`"
        )
    requests = threading.local()

    def call(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        requests.own.infer({0: pixels}, share_inputs=True)
        features: npt.NDArray[np.float32] = requests.own.get_output_tensor(index).data.copy()
        return features

    return CompiledModel(size, dimension, "serving_default", call)


def _reason(error: Exception) -> str:
    """Return what OpenVINO says, in one line and without its places in C++ files."""
    lines = str(error).splitlines()
    said = " ".join(line for line in lines if not line.startswith(("Exception from", "Check '")))
    return textwrap.shorten(said, 200) or type(error).__name__


def _read_interface(model: Any, handle: str) -> tuple[int, int]:
    """Return the model's input size, and which of its outputs holds the features."""
    image = model.inputs[0]
    names = [port.get_any_name() for port in model.inputs]
    size = read_input_size(handle, names, image.element_type.to_dtype().name, _shape(image))
    if len(model.outputs) == 1:
        return size, 0
    named = {name: i for i, port in enumerate(model.outputs) for name in port.get_names()}
    return size, named[choose_output(handle, named)]


def _check_precision(core: Any, precision: str) -> None:
    if precision == "bfloat16" and "BF16" not in core.get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        raise ModelError(
            "`precision=bfloat16` would be no faster here: it needs a CPU with AVX512_BF16 or "
            "AMX; use `precision=float32`"
        )


def _take_pixels(openvino: Any, model: Any) -> Any:
    """Let a model take uint8 0..255 instead of float32 0..1."""
    steps = openvino.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(openvino.Type.u8)
    steps.input().preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
    return steps.build()


def _shape(port: Any) -> list[int | None]:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return [None] * 4
    return [None if length.is_dynamic else length.get_length() for length in shape]


ENGINE = Engine(
    name="openvino",
    precisions=("float32", "bfloat16"),
    devices=("any",),
    packages=("openvino",),
    extra="openvino",
    compile=compile_model,
)
