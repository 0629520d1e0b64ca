"""The file of a quantised model: an archive of the model as OpenVINO keeps it, and what it is.

It is named and known by its SHA-256. Nothing in it is code, and it needs no other file: workers and
later runs load it wherever it lies.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass

from beamvec.embeddings.fidelity import Fidelity
from beamvec.embeddings.typed_json import load_object, parse
from beamvec.errors import DatasetError, ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.files import storage
from beamvec.transforms.files.once import OncePerContent
from beamvec.transforms.files.zip_damage import ZIP_DAMAGES

_GRAPH, _WEIGHTS, _NOTES = "model.xml", "model.bin", "int8.json"


@dataclass(frozen=True)
class Int8File:
    """What the file of a quantised model holds.

    Attributes:
        graph: OpenVINO's IR: uint8 [N, S, S, 3] RGB -> float32 [N, D].
        weights: of the IR.
        spec: the model's contract, complete.
        fidelity: how near it is to the model in float32.
    """

    graph: bytes
    weights: bytes
    spec: ModelSpec
    fidelity: Fidelity

    def pack(self) -> bytes:
        """Return the content of the file: the same bytes for the same model."""
        notes = {
            "spec": dataclasses.asdict(self.spec),
            "fidelity": dataclasses.asdict(self.fidelity),
        }
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in (
                (_GRAPH, self.graph),
                (_WEIGHTS, self.weights),
                (_NOTES, json.dumps(notes, sort_keys=True).encode()),
            ):
                archive.writestr(zipfile.ZipInfo(name), content)
        return buffer.getvalue()


@dataclass(frozen=True)
class _Notes:
    spec: ModelSpec
    fidelity: Fidelity


def hash_file(path: str) -> str:
    """Return the SHA-256 of a file, in hex.

    Raises:
        OSError: if it cannot be read.
    """
    return _hash(path, storage.read_bytes(path))


_hashes = OncePerContent[str]()


def _hash(path: str, content: bytes) -> str:
    def compute() -> str:
        return hashlib.sha256(content).hexdigest()

    return _hashes.get([path], compute) if storage.is_local(path) else compute()


def read_int8(path: str, sha256: str = "") -> Int8File:
    """Read the file of a quantised model.

    Args:
        path: local, or on any Beam filesystem.
        sha256: what its SHA-256 must be; empty for any.

    Raises:
        ModelError: if it is not there, is damaged, or is another one.
    """
    try:
        content = storage.read_bytes(path)
        if sha256 and _hash(path, content) != sha256:
            raise ValueError("its SHA-256 is another")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            graph, weights, notes = map(archive.read, (_GRAPH, _WEIGHTS, _NOTES))
        told = parse(_Notes, load_object(notes, path), path)
    except (OSError, DatasetError, *ZIP_DAMAGES) as error:
        raise ModelError(f"cannot use the int8 model {path}: {error}") from error
    return Int8File(graph, weights, told.spec, told.fidelity)
