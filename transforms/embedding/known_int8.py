"""Int8 models that were made before, found without decoding the images again: `find_known`.

A quantised model follows from pixels, and these from files. Files of the same names, sizes and
times of change are taken for the same, as they are where a run goes on. Beam is not imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from beamvec import __version__
from beamvec.embeddings.fidelity import Fidelity
from beamvec.embeddings.typed_json import load_object, parse
from beamvec.errors import DatasetError, InputError, ModelError
from beamvec.transforms.decoding.resize import make_resizing
from beamvec.transforms.files import storage
from beamvec.transforms.inference import hub
from beamvec.transforms.inference.config import Int8Model
from beamvec.transforms.inference.description import Description
from beamvec.transforms.inference.int8_file import read_int8
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inference.openvino_engine import import_openvino
from beamvec.transforms.inference.quantize import find_nncf
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.records.images import ImageRef

CALIBRATED = 224
"""Images whose values set the ranges; more changed nothing that could be measured."""

COMPARED = 128
"""Images that float32 and int8 are compared on."""

_SPARE = 4
"""As many times the images that are needed are looked at: some may be damaged, or copies."""

_RECIPE = "2"
"""Changes with whatever `int8`, `calibration` and `quantize` do otherwise."""

_DECODERS = ("pillow", "cykooz-resizer", "pillow-jxl-plugin")


class MadeInt8(NamedTuple):
    """A quantised model in the cache, and how near it is to float32."""

    model: Int8Model
    fidelity: Fidelity


@dataclass(frozen=True)
class _Note:
    """What is noted of a model: the name of its file in the cache, and the SHA-256 of it."""

    name: str
    sha256: str


def choose_images(source: Source) -> list[ImageRef]:
    """Return the images of an input that a sample is taken of: the first by their uris' SHA-256.

    Raises:
        InputError: if the input cannot be listed.
    """

    def key(ref: ImageRef) -> tuple[bytes, str]:
        return hashlib.sha256(ref.uri.encode("utf-8", "surrogateescape")).digest(), repr(ref)

    try:
        return heapq.nsmallest(_SPARE * (CALIBRATED + COMPARED), source.list_images(), key)
    except OSError as error:
        raise InputError(f"cannot list `{source.kind}={source.names[0]}`: {error}") from error


def make_parts(files: ModelFiles, said: Description) -> tuple[object, ...]:
    """Return what a quantised model follows from, beside images: model, versions, processor."""
    cpu = import_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME")
    fields = sorted(said.fields.items())
    versions = find_nncf(), version("openvino"), cpu
    return (_RECIPE, files.format, files.fingerprint(), fields, *versions)


def find_note(
    files: ModelFiles, said: Description, source: Source, refs: Sequence[ImageRef]
) -> str | None:
    """Return the path of what is noted of a model, by its images' names, sizes and times.

    None where the listing does not tell size and time of each: such files may have changed.
    """
    if any(ref.size_bytes is None or ref.modified_s is None for ref in refs):
        return None
    images = [(ref.uri, ref.size_bytes, ref.modified_s, ref.place) for ref in refs]
    decoders = __version__, [_find_version(name) for name in _DECODERS]
    read = source.kind, source.folder, images
    parts = (*make_parts(files, said), decoders, make_resizing(said.spec), read)
    return os.path.join(hub.cache_folder(), f"int8-{hash_parts(parts)}.json")


def hash_parts(parts: object) -> str:
    """Return a SHA-256, in hex, over the `repr` of something."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


class Known(NamedTuple):
    """What is known before an image is decoded.

    Attributes:
        refs: what `choose_images` chose.
        note: the path of what is noted of their model, None for nowhere.
        made: the model, None if it is not noted, or gone.
    """

    refs: list[ImageRef]
    note: str | None
    made: MadeInt8 | None


def find_known(files: ModelFiles, said: Description, source: Source) -> Known:
    """Return what is known of a model that is to be quantised with images of an input.

    Raises:
        InputError: if the input cannot be listed.
    """
    refs = choose_images(source)
    note = find_note(files, said, source, refs)
    return Known(refs, note, read_note(note))


def read_note(path: str | None) -> MadeInt8 | None:
    """Return the model that is noted, if it is there and whole; None if it is to be looked for."""
    try:
        if path is None or not os.path.exists(path):
            return None
        noted = parse(_Note, load_object(storage.read_bytes(path), path), path)
        model = Int8Model(
            noted.sha256, os.path.join(hub.cache_folder(), os.path.basename(noted.name))
        )
        return MadeInt8(model, read_int8(model.path, model.sha256).fidelity)
    except (OSError, DatasetError, ModelError):
        return None


def write_note(path: str | None, made: MadeInt8) -> None:
    """Note which model was made of the images, where that can be written."""
    if path is not None:
        noted = _Note(os.path.basename(made.model.path), made.model.sha256)
        with contextlib.suppress(OSError):  # Without it the images are decoded again, no more.
            storage.write_file(path, json.dumps(asdict(noted)).encode())
