"""TensorFlow as the engine: the SavedModel called as it was loaded, in one fixed shape.

Freezing the variables or keeping an optimised graph on disk would not help: with TensorFlow 2.21 a
frozen ResNet-v2-50 is no faster, and takes longer to load than the SavedModel itself. Mixed
precision is a rewrite of the graph, made by TensorFlow when a function is first called.

XLA compiles the whole function in float32. What it is given so is never rewritten, so with mixed
precision it gets the clusters that TensorFlow finds in the rewritten graph instead, which are those
of GPUs only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamvec.errors import ModelError
from beamvec.transforms.inference.description import Description
from beamvec.transforms.inference.engine import (
    GPU_IN_FLIGHT,
    CompiledModel,
    Engine,
    Precision,
)
from beamvec.transforms.inference.hub import is_on_hub
from beamvec.transforms.inference.model_files import ModelFiles, first_line, import_tensorflow
from beamvec.transforms.inference.tensorflow_graph import LoadedModel
from beamvec.transforms.machine import read_cpu_flags

if TYPE_CHECKING:
    from beamvec.transforms.inference.config import ModelConfig

_REWRITES = {
    "bfloat16": "auto_mixed_precision_onednn_bfloat16",
    "float16": "auto_mixed_precision",
}
"""Options of `tf.config.optimizer.set_experimental_options`; the first is for CPUs only."""

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""Features of CPUs that compute in bfloat16, as Linux names them."""

_FLOAT16_CAPABILITY = (7, 0)


def check_gpu() -> None:
    """Raise `ModelError` where TensorFlow sees no GPU.

    It would compute on the CPU without a word, many times slower than what is paid for.
    """
    if has_gpu():
        return
    advice = "it has no NVIDIA device; ask for a machine that has one, or for no GPU"
    if any(Path("/dev").glob("nvidia[0-9]*")):
        advice = "the driver or CUDA's libraries are missing; pip install 'beamvec[gpu]'"
    raise ModelError(f"a GPU is required, and TensorFlow sees none on {gethostname()}: {advice}")


def has_gpu() -> bool:
    """Tell whether TensorFlow sees a GPU on this machine."""
    return bool(import_tensorflow().config.list_physical_devices("GPU"))


def check_precision(tf: Any, precision: Precision) -> None:
    """Raise `ModelError` where this machine has no use for a precision."""
    gpus = tf.config.list_physical_devices("GPU")
    if precision == "bfloat16":
        if gpus:
            raise ModelError(
                "`precision=bfloat16` is for CPUs, and this machine has a GPU, where TensorFlow's "
                "mixed precision is float16: use `precision=float16`"
            )
        has_onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"
        if not (has_onednn and BFLOAT16_FLAGS & read_cpu_flags()):
            raise ModelError(
                "`precision=bfloat16` would be no faster here: it needs a CPU with AVX512_BF16 or "
                "AMX, and oneDNN in TensorFlow; use `precision=float32`"
            )
    if precision == "float16" and not any(_has_tensor_cores(tf, gpu) for gpu in gpus):
        raise ModelError(
            "`precision=float16` needs a GPU of compute capability 7.0 or more, and TensorFlow "
            "sees none here; use `precision=float32`, or bfloat16 on a CPU that has it"
        )


def _has_tensor_cores(tf: Any, gpu: Any) -> bool:
    details = tf.config.experimental.get_device_details(gpu)
    return details.get("compute_capability", (0, 0)) >= _FLOAT16_CAPABILITY


def compile_model(files: ModelFiles, said: Description, config: ModelConfig) -> CompiledModel:
    """Load a SavedModel, for batches of one size.

    Models of different precisions must not be called at the same time: TensorFlow's option for it
    belongs to the process, and stays as the last call left it. Setting it back after each call
    would let one thread change what another is about to do.

    Raises:
        ModelError: if it is no feature extractor, or not as is said of it; the precision is of no
            use here, there is no GPU and one is wanted, or XLA cannot compile it.
    """
    tf = import_tensorflow()
    if config.device == "gpu":
        check_gpu()
    check_precision(tf, config.precision)
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # In use already, by whoever else is in here.
            tf.config.experimental.set_memory_growth(gpu, True)
    try:
        loaded = tf.saved_model.load(files.path)
    except Exception as error:  # TensorFlow raises what it likes on damaged files.
        reason = first_line(error)
        if is_on_hub(files.handle):  # An archive may be cut off where nothing in it can tell.
            reason += (
                f"; if its download was cut short, remove {files.path} to have it fetched again"
            )
        raise ModelError(f"cannot load the model {files.handle}: {reason}") from error
    is_mixed = config.precision != "float32"
    whole = config.xla == "on" and not is_mixed
    traced = LoadedModel(tf, loaded, files.handle, said, xla=whole).trace(config.batch_size)
    call = _make_call(tf, traced.function, config.precision, config.xla == "on" and is_mixed)
    spec = traced.spec
    if not spec.dimension or config.xla == "on":  # What XLA cannot compile shows in a call only.
        blank = np.zeros((config.batch_size, spec.size, spec.size, 3), np.uint8)
        try:
            spec = replace(spec, dimension=call(blank).shape[1])
        except tf.errors.OpError as error:
            why = f"cannot run {files.handle} with `xla={config.xla}`: {first_line(error)}"
            raise ModelError(f"TensorFlow {why}") from error
    return CompiledModel(spec, traced.entry, call, GPU_IN_FLIGHT if has_gpu() else 0)


def _make_call(
    tf: Any, function: Any, precision: Precision, clusters: bool
) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """Return a call of a traced function, with TensorFlow's options for it set each time."""
    rewrites = {option: name == precision for name, option in _REWRITES.items()}
    on_gpu = has_gpu()

    def call(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        tf.config.optimizer.set_experimental_options(rewrites)
        if on_gpu:
            tf.config.optimizer.set_jit("autoclustering" if clusters else False)
        # The pixels go to the device as they are, a quarter of the bytes of floats.
        output: npt.NDArray[np.float32] = function(tf.constant(pixels)).numpy()
        return output

    return call


ENGINE = Engine(
    name="tensorflow",
    formats=("saved_model",),
    precisions=("float32", "bfloat16", "float16"),
    devices=("any", "gpu"),
    packages=("tensorflow",),
    extra=None,
    compile=compile_model,
    has_xla=True,
)
