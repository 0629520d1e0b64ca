"""The files of a model: `ModelFiles`, which knows their format, fetches and fingerprints them."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from beamvec.errors import ModelError
from beamvec.transforms.files import storage
from beamvec.transforms.files.once import OncePerContent
from beamvec.transforms.inference import hub
from beamvec.transforms.inference.trust import check_external_data, find_external_data
from beamvec.transforms.machine import large_imports, without_module

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_SILENT = "3"
_GRAPH = "saved_model.pb"
_FINGERPRINTED = ("variables", "assets")

ModelFormat = Literal["saved_model", "onnx", "openvino"]

DESCRIPTION_FILE = "beamvec.json"
DESCRIPTIONS = (DESCRIPTION_FILE, "preprocessor_config.json", "config.json")
"""Files beside a model that may tell what it wants to see, the first before the others."""

_SUFFIXES: dict[str, ModelFormat] = {".onnx": "onnx", ".xml": "openvino"}
_EXPECTED = "it takes the folder of a SavedModel, an .onnx file, or the .xml of OpenVINO's IR"
_TOLD = 3
_EXPORTED = "; make one of it with `beamvec model export`"
_ADVICE = {
    ".keras": _EXPORTED,
    ".h5": f"; save it as .keras{_EXPORTED}",
    ".safetensors": _EXPORTED,
    ".pt": "; export it to ONNX with torch.onnx.export",
    ".pth": "; export it to ONNX with torch.onnx.export",
    ".tflite": "; give the SavedModel that it was made of",
    ".pb": "; give the folder of a SavedModel, not its file or a frozen graph",
}


def import_tensorflow() -> Any:
    """Import TensorFlow, quietly unless `TF_CPP_MIN_LOG_LEVEL` asks for its logs.

    TensorFlow 2.21 writes some lines before it reads that variable, straight to the process's
    standard error, so that is turned away while the import lasts. At the end it would import all
    of Keras, and scikit-learn with it where that is installed, which takes one to two seconds; it
    does without, and Keras can be imported afterwards.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    with large_imports(), without_module("keras.src"):
        if os.environ.setdefault(_LOG_LEVEL, _SILENT) != _SILENT:
            return importlib.import_module("tensorflow")
        sys.stderr.flush()
        kept = os.dup(2)
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            return importlib.import_module("tensorflow")
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model, on this machine.

    Attributes:
        handle: where they came from.
        path: the folder of a SavedModel, else the file: of IR the `.xml`.
        format: how the model is kept there: as TensorFlow's SavedModel, an ONNX file, or OpenVINO's
            IR, an `.xml` with a `.bin` of the same name.
    """

    handle: str
    path: str
    format: ModelFormat = "saved_model"

    @classmethod
    def fetch(cls, handle: str) -> ModelFiles:
        """Find a model's files, downloading them first if they are elsewhere.

        Models on a hub are fetched and cached by tensorflow-hub (`TFHUB_CACHE_DIR`); those on other
        filesystems are copied into the same cache, and copied again when a file of theirs changes.

        Raises:
            ModelError: if there is no model of a format that is known, or it cannot be fetched.
        """
        if hub.is_on_hub(handle):
            path = hub.download(handle)
        elif not storage.is_local(handle):
            path = _copy_remote(handle)
        else:
            path = os.path.expanduser(handle)
        return cls(handle, *_find_model(handle, path))

    def fingerprint(self) -> str:
        """Return the SHA-256, in hex, over the graph, the weights and the assets.

        Contents count, and names within the model; time stamps, the name of a file that is the
        whole model, and files that do not change an output do not.

        Raises:
            ModelError: if the files are gone or cannot be read.
        """
        try:
            listed = self._list_computing()
            paths = [str(file) for _, file in listed]
            return _fingerprints.get((self.path, *paths), lambda: _hash_files(listed))
        except OSError as error:
            raise ModelError(f"cannot read the model {self.handle}: {error}") from error

    def _list_computing(self) -> list[tuple[str, Path]]:
        """List the names and the files that the model's outputs depend on; its graph is one."""
        path = Path(self.path)
        if self.format == "onnx":
            check_external_data(self.handle, self.path)
            named = find_external_data(self.path)
            return [("model.onnx", path), *((name, path.parent / name) for name in named)]
        if self.format == "openvino":
            return [("model.xml", path), ("model.bin", path.with_suffix(".bin"))]
        folders = (path / name for name in _FINGERPRINTED)
        below = (sorted(folder.rglob("*")) for folder in folders)
        files = [path / _GRAPH, *(file for each in below for file in each if file.is_file())]
        return [(file.relative_to(path).as_posix(), file) for file in files]


_fingerprints = OncePerContent[str]()
"""A run asks several times, and reads a hundred megabytes for each."""


def _hash_files(files: list[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, file in files:
        digest.update(f"{name}\0".encode())
        digest.update(f"{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _find_model(handle: str, path: str) -> tuple[str, ModelFormat]:
    """Return where a model is, the folder of a SavedModel or a file, and its format."""
    if os.path.isfile(os.path.join(path, _GRAPH)):
        return path, "saved_model"
    files = [path] if os.path.isfile(path) else []
    if os.path.isdir(path):
        files = [str(file) for file in sorted(Path(path).iterdir()) if file.suffix in _SUFFIXES]
    elif not files:
        raise ModelError(f"no model at {handle}: no such folder or file; {_EXPECTED}")
    if len(files) > 1:
        names = ", ".join(os.path.basename(file) for file in files)
        raise ModelError(f"{handle} holds several models ({names}); name one of them")
    if not files:
        below = _find_below(path)
        advice = f"; give one of those in it: {', '.join(below)}" if below else f"; {_EXPECTED}"
        raise ModelError(f"no model at {handle}: the folder holds no {_GRAPH}{advice}")
    suffix = os.path.splitext(files[0])[1]
    if suffix not in _SUFFIXES:
        raise ModelError(f"no model at {handle}: {_EXPECTED}{_ADVICE.get(suffix, '')}")
    return files[0], _SUFFIXES[suffix]


def _find_below(path: str) -> list[str]:
    """Return the paths of some models in the folders of a folder, such as a repository's."""
    found = [file for file in Path(path).glob("*/*") if file.suffix in _SUFFIXES]
    found += [file.parent for file in Path(path).glob(f"*/{_GRAPH}")]
    return [str(file) for file in sorted(found)[:_TOLD]]


def _copy_remote(handle: str) -> str:
    """Copy a model from a remote filesystem into the cache of tensorflow-hub."""
    single = os.path.splitext(handle)[1] in _SUFFIXES
    root, _, name = handle.rpartition("/") if single else (handle.rstrip("/"), "", "")
    try:
        storage.check_store(handle)
        files = storage.match(f"{root}/*" if single else f"{root}/**")
    except OSError as error:
        raise ModelError(f"cannot list the model {handle}: {error}") from error
    stem = os.path.splitext(name)[0]
    if single:
        files = [file for file in files if _belongs(os.path.basename(file.path), stem)]
    if not files:
        raise ModelError(f"no model at {handle}: nothing is there")
    key = hashlib.sha256(repr(sorted(map(tuple, files))).encode()).hexdigest()
    target = os.path.join(hub.cache_folder(), key)
    if not os.path.isdir(target):
        temporary = f"{target}.{uuid.uuid4().hex}.tmp"
        try:
            for file in files:
                local = os.path.join(temporary, os.path.relpath(file.path, root))
                os.makedirs(os.path.dirname(local), exist_ok=True)
                Path(local).write_bytes(storage.read_bytes(file.path))
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise ModelError(f"cannot fetch the model {handle}: {error}") from error
        try:
            os.rename(temporary, target)
        except OSError:  # Another process was first.
            shutil.rmtree(temporary)
    return os.path.join(target, name)


def _belongs(name: str, stem: str) -> bool:
    """Tell whether a file is part of the model of that stem, or describes it."""
    return name.startswith(f"{stem}.") or name in DESCRIPTIONS


def first_line(error: object) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
