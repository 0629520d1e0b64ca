"""Exporting a model, of whatever kind: `export`."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from beamvec.errors import ArgumentError
from beamvec.model_spec import Channels, ModelSpec
from beamvec.transforms.export.compare import Agreement, Exported, choose_images, compare
from beamvec.transforms.export.efficientnet_lite import (
    EFFICIENTNET_LITE0,
    export_efficientnet_lite0,
)
from beamvec.transforms.export.keras_files import export_keras_file
from beamvec.transforms.export.keras_models import export_model
from beamvec.transforms.export.torch_models import PICKLES, explain_pickle, export_torch_model
from beamvec.transforms.inference.model_files import DESCRIPTION_FILE

Kind = Literal["efficientnet-lite0", "keras", "keras_file", "torchvision", "timm"]

ZOOS: tuple[Kind, ...] = ("keras", "torchvision", "timm")
"""Libraries whose models are named as `library:NAME`."""


@dataclass(frozen=True)
class ExportOptions:
    """How a model is exported; what a source has no use for is refused.

    Attributes:
        weights: `imagenet`, which the library downloads, `random`, or a file.
        seed: fixes `random` weights.
        layer: the last layer of a `.keras` file; empty for all.
        size: S, where a `.keras` file leaves it free.
        scale: what pixels, 0 to 255, are multiplied with; None for what is known of the model.
        mean: what is taken off then, of red, green and blue.
        std: what is divided by then.
        channels: the order of the colours that the model wants.
        images: a file, folder or glob of images to compare on, besides made ones.
        trust_model: load layers that run code of the file's.
    """

    weights: str = "imagenet"
    seed: int = 0
    layer: str = ""
    size: int = 0
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: Channels | None = None
    images: str = ""
    trust_model: bool = False


def export(source: str, path: str, options: ExportOptions) -> tuple[Exported, Agreement]:
    """Write a model of another kind as one that beamvec takes, and compare it with the original.

    Args:
        source: `efficientnet-lite0`, `keras:NAME`, `torchvision:NAME`, `timm:NAME`, or the path of
            a `.keras` file.
        path: the folder to write; for the models of PyTorch also a file that ends in `.onnx`.
        options: what else is known of it.

    Raises:
        ArgumentError: if that is no source, the path exists, or an option is missing or of no use.
        ModelError: if the model cannot be had, or not be exported.
        ExportError: if the written model gives something else than the original; it is removed.
        OSError: if it cannot be written.
    """
    kind, name = _parse(source)
    _check_options(source, kind, options)
    images = choose_images(options.images) if options.images else []
    with _written_whole(path, may_be_file=kind in ("torchvision", "timm")) as (folder, file):
        exported = _write(kind, name, folder, file, options)
        return exported, compare(exported, images)


_TAKEN: dict[Kind, set[str]] = {
    "efficientnet-lite0": {"images"},
    "keras": {"weights", "seed", "images"},
    "keras_file": {
        *("layer", "size", "scale", "mean", "std", "channels", "images", "trust_model"),
    },
    "torchvision": {"weights", "seed", "scale", "mean", "std", "channels", "images"},
    "timm": {"weights", "seed", "scale", "mean", "std", "channels", "images"},
}


def _parse(source: str) -> tuple[Kind, str]:
    """Return what kind of model a source names, and its name or path."""
    if source == EFFICIENTNET_LITE0:
        return "efficientnet-lite0", source
    library, colon, name = source.partition(":")
    for zoo in ZOOS:
        if colon and library == zoo:
            return zoo, name
    ending = os.path.splitext(source.rstrip("/"))[1].lower()
    if ending == ".keras":
        return "keras_file", source
    raise ArgumentError(f"{source} cannot be exported: {_explain(source, ending)}")


def _explain(source: str, ending: str) -> str:
    if ending in (".h5", ".hdf5"):
        return (
            "a .h5 file is of an older format; if it is a whole model, write it anew with "
            "`keras.models.load_model(FILE).save('model.keras')`; if it holds the weights of an "
            "architecture of Keras, give keras:NAME and `weights=FILE`"
        )
    if ending in PICKLES:
        return explain_pickle()
    if ending == ".safetensors":
        return (
            "it holds weights, and no architecture; give timm:NAME or torchvision:NAME and "
            f"`weights={source}`"
        )
    if ending in (".onnx", ".xml") or os.path.isdir(source):
        return (
            "a SavedModel, an .onnx file and an OpenVINO IR need no export; "
            f"`beamvec model check {shlex.quote(source)}` tells whether it can be used as it is"
        )
    return (
        "write efficientnet-lite0, keras:NAME, torchvision:NAME, timm:NAME, or the path of a "
        ".keras file"
    )


def _check_options(source: str, kind: Kind, options: ExportOptions) -> None:
    for field in dataclasses.fields(options):
        if getattr(options, field.name) != field.default and field.name not in _TAKEN[kind]:
            raise ArgumentError(f"`{field.name}` is of no use for {source}")
    missing = options.scale is None and (options.mean, options.std, options.channels)
    if kind == "keras_file" and missing and any(missing):
        raise ArgumentError("give `scale` too: a model gets (pixels * scale - mean) / std")


@contextmanager
def _written_whole(path: str, may_be_file: bool) -> Iterator[tuple[str, str]]:
    """Give a folder to write in and the name of a file there; move both to the path if all is well.

    A model that could not be finished, or is not what it should be, must not lie around.
    """
    path = os.path.abspath(os.path.expanduser(path))
    is_file = path.endswith(".onnx")
    parent, name = os.path.split(path)
    if is_file and not may_be_file:
        raise ArgumentError(f"{path}: this model becomes a folder, a SavedModel; name a folder")
    taken = [path, os.path.join(parent, DESCRIPTION_FILE)] if is_file else [path]
    for there in taken:
        if os.path.lexists(there):
            raise ArgumentError(f"{there} exists; name a folder that does not")
    os.makedirs(parent, exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    os.mkdir(temporary)
    try:
        yield temporary, name if is_file else "model.onnx"
        if is_file:
            for written in os.listdir(temporary):
                os.rename(os.path.join(temporary, written), os.path.join(parent, written))
        else:
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(kind: Kind, name: str, folder: str, file: str, options: ExportOptions) -> Exported:
    if kind == EFFICIENTNET_LITE0:
        return export_efficientnet_lite0(folder)
    if kind == "keras":
        return export_model(name, options.weights, folder, options.seed)
    told = {field: getattr(options, field) for field in ("scale", "mean", "std", "channels")}
    given = {field: value for field, value in told.items() if value is not None}
    if kind == "keras_file":
        pixels = ModelSpec(**given) if given else None
        return export_keras_file(
            name, folder, options.layer, options.size, pixels, options.trust_model
        )
    return export_torch_model(kind, name, options.weights, folder, file, options.seed, given)
