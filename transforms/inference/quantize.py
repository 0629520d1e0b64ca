"""Quantising a model to int8 with NNCF, in a process of its own: `quantize`.

NNCF prints, sets up loggers and reports its use over the network; in a process of its own it can do
none of that to whoever calls beamvec. That process counts the names that OpenVINO makes up from
zero, so the same model and pixels give the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.inference.description import Description
from beamvec.transforms.inference.model_files import ModelFiles, first_line
from beamvec.transforms.inference.openvino_engine import import_openvino, make_hints, read_model
from beamvec.transforms.machine import end_with

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]

_ORDER, _CALIBRATION, _COMPARED = "order.pickle", "calibration.npy", "compared.npy"
_GRAPH, _RESULT = "model.xml", "result.pickle"
_BATCH_SIZE = 8

# Without the working folder on the path, whose files may have the names of packages.
_START = (
    "import sys; sys.path = [path for path in sys.path if path]; "
    "from beamvec.transforms.inference.quantize import main; main()"
)


@dataclass(frozen=True)
class Quantized:
    """A model that was quantised.

    Attributes:
        graph: OpenVINO's IR, for any number of images.
        weights: of the IR.
        spec: the model's contract, complete.
        float32: what the model makes of the images to compare, float32 [m, D].
        int8: what the quantised model makes of them, likewise.
    """

    graph: bytes
    weights: bytes
    spec: ModelSpec
    float32: Features
    int8: Features


def find_nncf() -> str:
    """Return NNCF's version.

    Raises:
        ModelError: if it is not installed.
    """
    try:
        return importlib.metadata.version("nncf")
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(
            "`precision=int8` needs the package nncf: pip install 'beamvec[int8]', or '.[int8]' in "
            "beamvec's own folder"
        ) from None


def quantize(
    files: ModelFiles, said: Description, calibration: Pixels, compared: Pixels
) -> Quantized:
    """Quantise a model, and run it on other images before and after.

    Args:
        files: the model, of a format that OpenVINO reads.
        said: what is said of it.
        calibration: images whose values set the ranges, uint8 [n, S, S, 3] RGB.
        compared: images to compare on, uint8 [m, S, S, 3] RGB.

    Raises:
        ModelError: if it cannot be quantised.
    """
    find_nncf()
    try:
        with tempfile.TemporaryDirectory(prefix="beamvec-int8-") as folder:
            np.save(os.path.join(folder, _CALIBRATION), calibration)
            np.save(os.path.join(folder, _COMPARED), compared)
            Path(folder, _ORDER).write_bytes(pickle.dumps((files, said)))
            _run_in(folder, files.handle)
            # Written by the process that was just started, into a folder that only this user can
            # read.
            quantized: Quantized = pickle.loads(Path(folder, _RESULT).read_bytes())
            return quantized
    except OSError as error:
        raise ModelError(
            f"cannot quantise the model {files.handle}, which needs room for temporary files: "
            f"{error}; name another folder for them in the environment variable TMPDIR"
        ) from error


def _run_in(folder: str, handle: str) -> None:
    """Have a process quantise what lies in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", _START, folder, str(os.getpid())],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        why = ", as a system does that has no memory left" if name == "SIGKILL" else ""
        raise ModelError(f"cannot quantise the model {handle}: its process ended by {name}{why}")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"its process ended ({done.returncode})"]
        raise ModelError(f"cannot quantise the model {handle}: {lines[-1]}")


def main() -> None:
    """Quantise what lies in the folder that the command line names, for the process that it names.

    If that is killed nobody else removes the folder.
    """
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    end_with(parent, lambda: shutil.rmtree(folder, ignore_errors=True))
    try:
        _quantize_in(folder)
    finally:
        # It may be over, or have failed as nobody reads what it prints, before the next look.
        if os.getppid() != parent:
            shutil.rmtree(folder, ignore_errors=True)


def _quantize_in(folder: Path) -> None:
    files, said = pickle.loads((folder / _ORDER).read_bytes())
    calibration, compared = (
        np.load(folder / name, mmap_mode="r") for name in (_CALIBRATION, _COMPARED)
    )
    try:
        quantized = _quantize_here(files, said, calibration, compared, folder / _GRAPH)
    except Exception as error:  # noqa: BLE001 NNCF raises what it likes; the parent tells it.
        sys.exit(first_line(error))
    (folder / _RESULT).write_bytes(pickle.dumps(quantized))


def _quantize_here(
    files: ModelFiles, said: Description, calibration: Pixels, compared: Pixels, path: Path
) -> Quantized:
    nncf, openvino = _import_nncf(), import_openvino()
    model, spec = read_model(files, said, -1)
    # One image at a time: over batches NNCF would take the ranges of a batch for one image's.
    images = nncf.Dataset([image[None] for image in calibration])
    # By default the first layer is held to seven bits, against sums that overflow where there is
    # neither VNNI nor AMX. That costs EfficientNet-Lite0 half of what int8 loses: a mean cosine of
    # 0.987 instead of 0.993. Such processors are refused.
    exact = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE)
    int8 = nncf.quantize(
        model,
        images,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        advanced_parameters=exact,
    )
    openvino.save_model(int8, str(path), compress_to_fp16=False)
    core = openvino.Core()
    return Quantized(
        path.read_bytes(),
        path.with_suffix(".bin").read_bytes(),
        spec,
        _embed(core, model, spec, compared),
        _embed(core, core.read_model(str(path)), spec, compared),
    )


def _import_nncf() -> Any:
    """Import NNCF without what would tell others of its use; it does without."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Stops an import of it.
    import nncf

    return nncf


def _embed(core: Any, model: Any, spec: ModelSpec, pixels: Pixels) -> Features:
    """Embed images as the engine does, in batches, the last one padded."""
    model.reshape([_BATCH_SIZE, spec.size, spec.size, 3])
    request = core.compile_model(model, "CPU", make_hints("int8")).create_infer_request()
    features = []
    for start in range(0, len(pixels), _BATCH_SIZE):
        batch = pixels[start : start + _BATCH_SIZE]
        missing = _BATCH_SIZE - len(batch)
        request.infer({0: np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))})
        features.append(request.get_output_tensor(0).data[: len(batch)].copy())
    return np.concatenate(features)
