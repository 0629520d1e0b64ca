"""The files of a SavedModel: fetching them, fingerprinting them, notes beside them."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import socket
import sys
import urllib.error
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import FileMetadata

from transforms import storage
from transforms.imports import large_imports, without_module
from transforms.redact import redact

DOWNLOAD_TIMEOUT_S = 20.0
"""How long a hub may stay silent, for each answer that is waited for."""

# The folder that SavedModel's own layout keeps for files of others.
_WEIGHTS_NOTE = "assets.extra/beamvec.json"
_FINGERPRINTED = ("saved_model.pb", "variables", "assets")


class ModelError(ValueError):
    """A model cannot be fetched, loaded or used; the message says why and what to do."""

    def __init__(self, message: str):
        super().__init__(redact(message))


def import_tensorflow() -> Any:
    """Import TensorFlow, quietly where `TF_CPP_MIN_LOG_LEVEL` asks for silence.

    TensorFlow 2.21 writes some lines before it reads that variable, straight to the process's
    standard error, so that is turned away while the import lasts. At the end it would import all
    of Keras, and scikit-learn with it where that is installed, which takes one to two seconds; it
    does without, and Keras can be imported afterwards.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    with large_imports(), without_module("keras.src"):
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
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


def fetch_model(handle: str) -> str:
    """Return a local folder with the SavedModel, downloading it first if it is elsewhere.

    URLs are fetched and cached by tensorflow-hub (`TFHUB_CACHE_DIR`); models on other filesystems
    are copied into the same cache, and copied again when a file of theirs changes.

    Raises:
        ModelError: if there is no SavedModel, or it cannot be fetched.
    """
    if handle.startswith(("http://", "https://")):
        path = _download(handle)
    elif not storage.is_local(handle):
        path = _copy_remote(handle)
    else:
        path = handle
    if not os.path.isdir(path):
        raise ModelError(f"no model at {handle}: no such folder; give the folder of a SavedModel")
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise ModelError(f"no model at {handle}: the folder holds no saved_model.pb")
    return path


def _download(handle: str) -> str:
    tf = import_tensorflow()
    import tensorflow_hub as hub

    advice = (
        "give a SavedModel on disk with --model, or make one with "
        "`beamvec model export keras:ResNet50V2 --weights random DIR`"
    )
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT_S):
            return str(hub.resolve(handle))
    except urllib.error.HTTPError as error:
        reason = f"the server answered {error.code} {error.reason}"
    except (OSError, EOFError, ValueError, tf.errors.OpError) as error:
        # ValueError and EOFError: an answer that is no archive, or half of one.
        reason = first_line(getattr(error, "reason", None) or error)
    raise ModelError(f"cannot fetch the model {handle}: {reason}; {advice}")


@contextmanager
def _socket_timeout(timeout_s: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout_s)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _copy_remote(handle: str) -> str:
    """Copy a SavedModel from a remote filesystem into the cache of tensorflow-hub."""
    import_tensorflow()
    from tensorflow_hub import resolver

    root = handle.rstrip("/")
    try:
        storage.check_filesystem(root)
        files = storage.match(f"{root}/**")
    except storage.READ_ERRORS as error:
        raise ModelError(f"cannot list the model {handle}: {error}") from error
    if not files:
        raise ModelError(f"no model at {handle}: nothing is there")
    key = hashlib.sha256(repr(sorted(map(_describe_file, files))).encode()).hexdigest()
    target = os.path.join(resolver.tfhub_cache_dir(use_temp=True), key)
    if not os.path.isdir(target):
        temporary = f"{target}.{uuid.uuid4().hex}.tmp"
        try:
            for file in files:
                local = os.path.join(temporary, os.path.relpath(file.path, root))
                os.makedirs(os.path.dirname(local), exist_ok=True)
                Path(local).write_bytes(storage.read_bytes(file.path))
        except storage.READ_ERRORS as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise ModelError(f"cannot fetch the model {handle}: {error}") from error
        try:
            os.rename(temporary, target)
        except OSError:  # Another process was first.
            shutil.rmtree(temporary)
    return target


def _describe_file(file: FileMetadata) -> tuple[str, int, float]:
    return file.path, file.size_in_bytes, file.last_updated_in_seconds


def fingerprint_model(path: str) -> str:
    """Return the SHA-256, in hex, over a SavedModel's graph, variables and assets.

    File names and contents count; time stamps and files that do not change an output do not.
    """
    digest = hashlib.sha256()
    found = [Path(path, name) for name in _FINGERPRINTED]
    files = [file for entry in found for file in (entry, *sorted(entry.rglob("*")))]
    for file in files:
        if file.is_file():
            name = file.relative_to(path).as_posix()
            digest.update(f"{name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def write_weights_note(path: str, weights: str) -> None:
    """Note in a SavedModel where its weights come from, so that random ones cannot be mistaken."""
    note = Path(path, _WEIGHTS_NOTE)
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps({"weights": weights}))


def read_weights_note(path: str) -> str | None:
    """Return the note of `write_weights_note`, None if there is none."""
    try:
        weights = json.loads(Path(path, _WEIGHTS_NOTE).read_text())["weights"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(weights)


def first_line(error: object) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
