"""ONNX Runtime as the engine: ONNX files, on CPUs and on NVIDIA's GPUs."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamvec.errors import ModelError
from beamvec.transforms.inference.description import Description
from beamvec.transforms.inference.engine import GPU_IN_FLIGHT, CompiledModel, Engine
from beamvec.transforms.inference.model_files import ModelFiles, first_line
from beamvec.transforms.inference.onnx_graph import FEATURES, PIXELS, complete_graph
from beamvec.transforms.machine import count_cpus

if TYPE_CHECKING:
    from beamvec.transforms.inference.config import ModelConfig

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ERRORS_ONLY = 3

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""Where weights outside the file are: a model of more than 2 GB cannot be passed in one piece."""


def _import_packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f"`engine=onnxruntime` needs the package {error.name}: pip install 'beamvec[onnx]', or "
            "use `engine=openvino`"
        ) from error
    return onnx, onnxruntime


def compile_model(files: ModelFiles, said: Description, config: ModelConfig) -> CompiledModel:
    """Read an ONNX file, for batches of one size.

    Calls run at the same time share the threads of one session, as many as there are cores.

    Raises:
        ModelError: if it is no feature extractor, or not as is said of it, or there is no GPU and
            one is wanted.
    """
    onnx, onnxruntime = _import_packages()
    providers = _choose_providers(onnxruntime, config.device)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = count_cpus()
    options.add_session_config_entry(_WEIGHTS_FOLDER, os.path.dirname(os.path.abspath(files.path)))
    try:
        model = onnx.load(files.path, load_external_data=False)
        spec = complete_graph(onnx, model, files.handle, said, config.batch_size)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
    except ModelError:
        raise
    except Exception as error:  # Both packages raise what they like on what they cannot read.
        raise ModelError(
            f"ONNX Runtime cannot run the model {files.handle}: {first_line(error)}"
        ) from error
    used = session.get_providers()
    if config.device == "gpu" and _CUDA not in used:
        raise ModelError(f"a GPU is required, and ONNX Runtime could not use one; it has {used}")

    def call(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        features: npt.NDArray[np.float32] = session.run([FEATURES], {PIXELS: pixels})[0]
        return features

    if not spec.dimension:
        blank = np.zeros((config.batch_size, spec.size, spec.size, 3), np.uint8)
        spec = replace(spec, dimension=call(blank).shape[1])
    return CompiledModel(spec, used[0], call, GPU_IN_FLIGHT if _CUDA in used else 0)


def _choose_providers(onnxruntime: Any, device: str) -> list[str]:
    """Return what computes: a GPU where there is one that can be used."""
    if _CUDA in onnxruntime.get_available_providers():
        return [_CUDA, _CPU]
    if device == "gpu":
        raise ModelError(
            "a GPU is required, and this ONNX Runtime is for CPUs: pip install onnxruntime-gpu in "
            "place of onnxruntime"
        )
    return [_CPU]


ENGINE = Engine(
    name="onnxruntime",
    formats=("onnx",),
    precisions=("float32",),
    devices=("any", "gpu"),
    packages=("onnxruntime",),
    extra="onnx",
    compile=compile_model,
)
