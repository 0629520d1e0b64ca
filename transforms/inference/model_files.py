"""The files of a model: `ModelFiles`, which knows their format, fetches and fingerprints them."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from beamvec.errors import ModelError
from beamvec.transforms.files import storage
from beamvec.transforms.inference import hub
from beamvec.transforms.machine import large_imports, without_module

# The folder that SavedModel's own layout keeps for files of others.
_WEIGHTS_NOTE = "assets.extra/beamvec.json"
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_SILENT = "3"
_FINGERPRINTED = ("saved_model.pb", "variables", "assets")


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
    """The files of a model, in a local folder.

    Attributes:
        handle: where they came from.
        path: the folder.
        format: how a model is kept there; `saved_model` is TensorFlow's SavedModel.
    """

    handle: str
    path: str
    format: Literal["saved_model"] = "saved_model"

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
        if not os.path.isdir(path):
            raise ModelError(
                f"no model at {handle}: no such folder; give the folder of a SavedModel"
            )
        if not os.path.isfile(os.path.join(path, "saved_model.pb")):
            raise ModelError(f"no model at {handle}: the folder holds no saved_model.pb")
        return cls(handle, path)

    def fingerprint(self) -> str:
        """Return the SHA-256, in hex, over the graph, the variables and the assets.

        File names and contents count; time stamps and files that do not change an output do not.

        Raises:
            ModelError: if the files are gone or cannot be read.
        """
        digest = hashlib.sha256()
        try:
            for file in _list_computing(self.path):
                digest.update(f"{file.relative_to(self.path).as_posix()}\0".encode())
                digest.update(f"{file.stat().st_size}\0".encode())
                with file.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        digest.update(block)
        except OSError as error:
            raise ModelError(f"cannot read the model {self.handle}: {error}") from error
        return digest.hexdigest()

    def read_weights_note(self) -> str | None:
        """Return what `beamvec model export` noted of the weights, None if there is no note."""
        try:
            weights = json.loads(Path(self.path, _WEIGHTS_NOTE).read_text())["weights"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return str(weights)


def _list_computing(path: str) -> list[Path]:
    """List the files of a SavedModel that its outputs depend on; its graph is always one."""
    graph, *folders = (Path(path, name) for name in _FINGERPRINTED)
    below = (sorted(folder.rglob("*")) for folder in folders)
    return [graph, *(file for files in below for file in files if file.is_file())]


def _copy_remote(handle: str) -> str:
    """Copy a SavedModel from a remote filesystem into the cache of tensorflow-hub."""
    root = handle.rstrip("/")
    try:
        storage.check_store(handle)
        files = storage.match(f"{root}/**")
    except OSError as error:
        raise ModelError(f"cannot list the model {handle}: {error}") from error
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
    return target


def write_weights_note(path: str, weights: str) -> None:
    """Note in a SavedModel where its weights come from, so that random ones cannot be mistaken."""
    note = Path(path, _WEIGHTS_NOTE)
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps({"weights": weights}))


def first_line(error: object) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
