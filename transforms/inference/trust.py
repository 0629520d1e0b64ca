"""A model is code: what a model could do beyond computing, told from its files before it is loaded.

Neither TensorFlow nor another engine is imported, and nothing of the model is run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from beamvec.errors import ModelError
from beamvec.transforms.files.once import OncePerContent
from beamvec.transforms.files.wire_format import DamagedError, Message, open_message
from beamvec.transforms.inference.saved_graph import SavedGraph

_RISKS = {
    "read or write files": re.compile(
        # Input pipelines and readers, some of which ask other machines; whatever has a file in its
        # name, but for two that only make up names.
        r"Dataset|Iterator|Reader|RecordInput|File(?!name$|spec$)"
        r"|Save|Restore|Checkpoint|LoadAndRemapMatrix"
        r"|SummaryWriter|SummaryDbWriter|Write\w*Summary|ImportEvent"
        # Those with a file in an argument: a vocabulary, a region of memory, descriptors of
        # messages, a stream to print to, an URL for debugging.
        r"|^FixedUnigramCandidateSampler$|^GenerateVocabRemapping$|^Skipgram$|^ImmutableConst$"
        r"|^EncodeProto|^DecodeProto|^PrintV2$|^DumpTensor$|^Debug(?!Gradient)"
    ),
    "run Python": re.compile(r"PyFunc"),
    "talk to other machines": re.compile(r"^Rpc|^RemoteCall$|^ConnectTPU"),
    "end the process": re.compile(r"^Abort$|^WorkerHeartbeat$"),
    "run a program in a form that is not looked into": re.compile(
        r"^XlaCallModule$|^XlaCustomCall|XlaHostCompute|Mlir"
    ),
}
"""What operations of TensorFlow could do, by their names.

A rule over names, because names are all that is known where TensorFlow is not imported; a test
holds it against all that TensorFlow registers. Of an operation that is not registered nothing is
known, but a model with one does not load: a SavedModel brings no libraries.
"""

_SAVING = {"SaveV2", "SaveSlices", "Save", "MergeV2Checkpoints"}
_RESTORING = {"RestoreV2", "RestoreSlice", "Restore"}
"""The operations of the saver that every SavedModel has."""

_ONNX_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": dict.fromkeys((5, 10), "tensor")
    | dict.fromkeys((6, 11), "graph")
    | dict.fromkeys((22, 23), "sparse"),
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Where tensors are in an ONNX file: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto."""


def find_unsafe_operations(path: str) -> list[str]:
    """Return the operations of a SavedModel that could do more than compute, sorted.

    All in its graphs and their functions counts, called or not, with one exception: what saves and
    restores variables where the saver, and nothing else, leads to it. Loading never saves. It
    restores with the model's own operations only where the model is one of TensorFlow 1, and from
    the model's own folder.

    Args:
        path: the folder.

    Raises:
        ModelError: if its `saved_model.pb` cannot be read or is damaged.
    """
    with _open(os.path.join(path, "saved_model.pb")) as saved:
        graphs = [SavedGraph.read(meta_graph) for meta_graph in saved.find(2)]
    return sorted(set[str]().union(*map(_find_unsafe, graphs)))


def find_external_data(path: str) -> list[str]:
    """Return the files that an ONNX file takes weights from, as it names them, sorted.

    Raises:
        ModelError: if it cannot be read or is damaged.
    """
    with _open(path) as model:
        entries = (entry for tensor in _tensors(model) for entry in tensor.find(13))
        return sorted({entry.read(2) for entry in entries if entry.read(1) == "location"})


def check_trusted(handle: str, path: str) -> None:
    """Refuse a model that could do more than compute.

    Args:
        handle: names the model in errors.
        path: the folder of a SavedModel or an ONNX file. Other files are not looked at: OpenVINO's
            own format names no files and no libraries.

    Raises:
        ModelError: if it has operations that read or write files, run Python or the like, takes
            weights from files outside its folder, or is damaged.
    """
    if os.path.isdir(path):
        _check_operations(handle, path)
    elif path.endswith(".onnx"):
        check_external_data(handle, path)


_unsafe = OncePerContent[list[str]]()


def _check_operations(handle: str, path: str) -> None:
    graph = os.path.join(path, "saved_model.pb")
    try:
        unsafe = _unsafe.get([graph], lambda: find_unsafe_operations(path))
    except OSError as error:
        raise ModelError(f"cannot read the model {graph}: {error.strerror}") from error
    if not unsafe:
        return
    could = ", or ".join(risk for risk in _RISKS if risk in map(_risk, unsafe))
    raise ModelError(
        f"the model {handle} could {could}: it has the operations {', '.join(unsafe)}; a model is "
        "code: if you trust who made it, use it with `trust_model=True`"
    )


def check_external_data(handle: str, path: str) -> None:
    """Refuse an ONNX file that takes weights from files outside its folder.

    Raises:
        ModelError: naming them, or if the file is damaged.
    """
    outside = [name for name in find_external_data(path) if _is_outside(path, name)]
    if outside:
        raise ModelError(
            f"the model {handle} takes weights from files outside its folder: "
            f"{', '.join(outside)}; no engine follows it there: put them beside the ONNX file, and "
            "let it name them so"
        )


@contextmanager
def _open(path: str) -> Iterator[Message]:
    try:
        with open_message(path) as message:
            yield message
    except OSError as error:
        raise ModelError(f"cannot read the model {path}: {error.strerror}") from error
    except DamagedError as error:
        raise ModelError(
            f"the model {path} is damaged: {error}; fetch or export it again"
        ) from error


def _find_unsafe(graph: SavedGraph) -> set[str]:
    """Return the operations with a risk, without those that only the saver leads to."""
    saving, restoring = graph.reach(graph.savers), graph.reach(graph.restorers)
    used = graph.reach(graph.named | (graph.leads_to.keys() - saving - restoring))
    unsafe = set()
    for vertex, operations in graph.operations.items():
        own: set[str] = set()
        if vertex not in used and (vertex in saving) != (vertex in restoring):
            own = _SAVING if vertex in saving else _RESTORING
        unsafe |= {name for name in operations - own if _risk(name)}
    return unsafe


def _risk(operation: str) -> str | None:
    return next((risk for risk, names in _RISKS.items() if names.search(operation)), None)


def _tensors(model: Message) -> Iterator[Message]:
    """Yield all tensors of an ONNX file, those in nodes of nested graphs among them."""
    left = [("model", model)]
    while left:
        kind, message = left.pop()
        if kind == "tensor":
            yield message
            continue
        fields = _ONNX_FIELDS[kind]
        left += [(fields[number], content) for number, content in message if number in fields]


def _is_outside(path: str, name: str) -> bool:
    """Tell whether a file, links followed, is outside the folder of the model that names it.

    In a cache of Hugging Face's hub both are links, into one other folder.
    """
    folder = os.path.dirname(os.path.abspath(path))
    file = os.path.realpath(os.path.join(folder, name))
    folders = (os.path.realpath(folder), os.path.dirname(os.path.realpath(path)))
    return all(os.path.commonpath([folder, file]) != folder for folder in folders)
