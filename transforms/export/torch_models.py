"""Models of torchvision and timm, as ONNX files: `pixels` float32 [N, 3, S, S] -> `features`.

Weights come from the library, by its own download, or from a safetensors file. A pickle is never
read: what the libraries download as one, torch reads as tensors and nothing else.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.export.compare import Exported, Features, Pixels
from beamvec.transforms.export.torch_zoos import (
    INPUT,
    OUTPUT,
    Backbone,
    build_timm,
    build_torchvision,
)
from beamvec.transforms.inference.description import write_description
from beamvec.transforms.inference.fields import name_differences
from beamvec.transforms.inference.model_files import ModelFiles, first_line

PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".tar")
"""Endings of files that run code when they are read."""

_LONGEST_REASON = 300  # torch names every tensor that does not fit.
_LARGEST_FILE = 2**31 - 1  # What protobuf, and so a single ONNX file, can hold.


def export_torch_model(
    library: str,
    name: str,
    weights: str,
    folder: str,
    file: str = "model.onnx",
    seed: int = 0,
    pixels: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a model without its classifier as an ONNX file, and describe it in `beamvec.json`.

    Preprocessing is not in the file: scale, mean, std, size, interpolation and crop are the
    library's own for these weights, or for the architecture's usual ones.

    Args:
        library: `torchvision` or `timm`.
        name: the library's name of the model.
        weights: `imagenet`, the library's own, which it downloads; `random`; or a safetensors file.
        folder: where the file is written.
        file: its name.
        seed: fixes `random` weights.
        pixels: fields of `ModelSpec` that weights of one's own were trained with otherwise.

    Raises:
        ModelError: if packages or weights are missing, the file of weights is a pickle or does not
            fit, or the model cannot be expressed in ONNX or in a `ModelSpec`.
    """
    _check_weights(weights)
    torch = _import_torch(library)
    torch.manual_seed(seed)
    build = build_torchvision if library == "torchvision" else build_timm
    backbone = build(name, weights)
    if os.path.isfile(weights):
        _load_weights(backbone, weights)
    spec = dataclasses.replace(backbone.spec, **(pixels or {}))
    module, dimension = _pool(torch, name, backbone.module.eval(), spec.size)
    spec = dataclasses.replace(spec, dimension=dimension)
    path = os.path.join(folder, file)
    _write_onnx(torch, module, path, spec.size)
    source = f"{library}:{name}"
    notes = {"weights": backbone.weights, "source": source}
    fields = name_differences(dataclasses.asdict(spec))
    write_description(ModelFiles(path, path, "onnx"), fields, notes)

    def original(images: Pixels) -> Features:
        with torch.inference_mode():
            return module(torch.from_numpy(_prepare(images, spec))).numpy()

    return Exported(spec, backbone.weights, original, _load_onnx(path, spec))


def explain_pickle() -> str:
    """Say what to do with a checkpoint that is a pickle."""
    return (
        "it is a pickle, which can run any code when it is read; where you trust it, write its "
        "tensors anew with `safetensors.torch.save_file(model.state_dict(), 'model.safetensors')`, "
        "and give timm:NAME or torchvision:NAME and `weights=model.safetensors`"
    )


def _check_weights(weights: str) -> None:
    if weights in ("imagenet", "random"):
        return
    if os.path.splitext(weights)[1].lower() in PICKLES:
        raise ModelError(f"`weights={weights}`: {explain_pickle()}")
    if not os.path.isfile(weights):
        raise ModelError(f"`weights={weights}`: no such file; or give imagenet or random")


def _import_torch(library: str) -> Any:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
        import safetensors  # noqa: F401
        import timm  # noqa: F401
        import torch
        import torchvision  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"{library}:NAME needs the package {error.name}: pip install 'beamvec[torch]'"
        ) from error
    return torch


def _load_weights(backbone: Backbone, file: str) -> None:
    """Load a safetensors file; only a classifier may be left over, and nothing may be missing."""
    from safetensors.torch import load_file

    try:
        missing, unexpected = backbone.module.load_state_dict(load_file(file), strict=False)
    except Exception as error:  # safetensors has an error of its own, torch raises RuntimeError.
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ModelError(f"cannot load `weights={file}`: {reason}") from error
    heads = tuple(f"{head}." for head in backbone.head)
    foreign = [key for key in unexpected if not key.startswith(heads)]
    for what, keys in (("lacks", missing), ("has besides", foreign)):
        if keys:
            raise ModelError(
                f"`weights={file}` does not fit the model: it {what} {', '.join(keys[:3])}"
                + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            )


def _pool(torch: Any, name: str, module: Any, size: int) -> tuple[Any, int]:
    """Return a module that gives one vector an image, and how long that is."""
    with torch.inference_mode():
        shape = tuple(module(torch.zeros(2, 3, size, size)).shape)
    if len(shape) == 4:
        return torch.nn.Sequential(
            module, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        ), shape[1]
    if len(shape) != 2:
        raise ModelError(f"{name} returns {list(shape)} without its classifier, expected [N, D]")
    return module, shape[1]


def _write_onnx(torch: Any, module: Any, path: str, size: int) -> None:
    if sum(weight.nbytes for weight in module.state_dict().values()) > _LARGEST_FILE:
        raise ModelError("the model is larger than 2 GB, which a single ONNX file cannot be")
    example = (torch.zeros(2, 3, size, size),)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # On the inside of torch.
            torch.onnx.export(
                module,
                example,
                path,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # Each operation fails in a way of its own.
        raise ModelError(f"torch cannot express the model in ONNX: {first_line(error)}") from error


def _load_onnx(path: str, spec: ModelSpec) -> Callable[[Pixels], Features]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def call(images: Pixels) -> Features:
        return session.run([OUTPUT], {INPUT: _prepare(images, spec)})[0]

    return call


def _prepare(images: Pixels, spec: ModelSpec) -> Features:
    """Return the model's input, float32 [N, 3, S, S], of images uint8 [N, S, S, 3] RGB."""
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    scaled = (images * np.float32(spec.scale) - mean) / std
    ordered = scaled[..., ::-1] if spec.channels == "BGR" else scaled
    return np.ascontiguousarray(ordered.transpose(0, 3, 1, 2))
