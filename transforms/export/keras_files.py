"""A `.keras` file: a model of one's own, whole or up to a layer."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from beamvec.errors import ArgumentError, ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.export.compare import Exported
from beamvec.transforms.export.keras_layers import cut_off, takes_bytes
from beamvec.transforms.export.saved_model import import_keras, save_model
from beamvec.transforms.files.zip_damage import ZIP_DAMAGES
from beamvec.transforms.inference.model_files import first_line

UNKNOWN_PIXELS = (
    "the model does not scale pixels itself, and its file does not tell what it was trained on; "
    "say it with `scale`, `mean` and `std`: it gets (pixels * scale - mean) / std of pixels from 0 "
    "to 255. For [0, 1] that is `scale=1/255`, for [-1, 1] `scale=1/127.5` `mean=1`, for 0 to 255 "
    "`scale=1`; for preprocess_input of Keras's resnet, vgg16 and vgg19 `scale=1` "
    "`mean=123.68,116.779,103.939` `channels=BGR`"
)


def export_keras_file(
    file: str,
    path: str,
    layer: str = "",
    size: int = 0,
    pixels: ModelSpec | None = None,
    trust_model: bool = False,
) -> Exported:
    """Write the model of a `.keras` file as a SavedModel with the preprocessing inside.

    Preprocessing that is in the model stays. An output of rank 4 is pooled by its mean.

    Args:
        file: the `.keras` file.
        path: the folder to write.
        layer: the last layer, as `beamvec.transforms.export.keras_layers.cut_off` finds it; empty
            for the whole model.
        size: S, if the file leaves it free.
        pixels: its scale, mean, std and channels say what the model gets; None leaves that to the
            model, which must scale pixels itself then.
        trust_model: load layers that run code of the file's, Lambda layers.

    Raises:
        ArgumentError: if what the model expects is not known.
        ModelError: if the file cannot be loaded, or is no model of images.
    """
    keras = import_keras()
    whole = _load(keras, file, trust_model)
    _check_input(file, whole)
    cut = cut_off(keras, whole, layer) if layer else whole
    model = _pool(keras, file, _fix_size(keras, file, cut, size))
    if pixels is None and not takes_bytes(keras, model, model.input_shape[1]):
        raise ArgumentError(f"{file}: {UNKNOWN_PIXELS}")
    preprocess = _preprocessing(keras, pixels or ModelSpec(scale=1.0), model.inputs[0].dtype)
    source = os.path.basename(file) + (f" up to {layer}" if layer else "")
    return save_model(model, preprocess, path, "file", source)


def _load(keras: Any, file: str, trust_model: bool) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
    except (OSError, *ZIP_DAMAGES) as error:
        raise ModelError(f"{file} is no .keras file that can be read: {error}") from error
    lambdas = sorted(set(_find_lambdas(config)))
    if lambdas and not trust_model:
        raise ModelError(
            f"{file} has Lambda layers, which run code that is in the file: {', '.join(lambdas)}; "
            "if you know where it comes from, load it with `trust_model=True`"
        )
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=not trust_model)
    except Exception as error:  # Whatever the layers of the file raise.
        raise ModelError(
            f"cannot load {file}: {first_line(error)}; a model with classes of its own is to be "
            "exported where they are known, with `model.export(DIR)`"
        ) from error
    return model


def _find_lambdas(config: Any) -> Iterator[str]:
    if isinstance(config, list):
        for item in config:
            yield from _find_lambdas(item)
    elif isinstance(config, dict):
        if config.get("class_name") == "Lambda":
            yield str(config.get("config", {}).get("name"))
        for item in config.values():
            yield from _find_lambdas(item)


def _check_input(file: str, model: Any) -> None:
    try:
        shapes = [tuple(tensor.shape) for tensor in model.inputs]
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{file}: the model does not tell its input; call it, and save it"
        ) from error
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3 or shapes[0][1] != shapes[0][2]:
        found = ", ".join(str(list(shape)) for shape in shapes)
        raise ModelError(f"{file}: the model takes {found}, expected one input [N, S, S, 3]")


def _fix_size(keras: Any, file: str, model: Any, size: int) -> Any:
    """Return the model with an input [N, S, S, 3] of a size that is known."""
    fixed = model.input_shape[1]
    if size in (0, fixed) and fixed:
        return model
    if fixed:
        raise ArgumentError(f"`size={size}`: the model in {file} takes images of {fixed}")
    if not size:
        raise ArgumentError(
            f"{file} leaves the size of images free; give `size`, such as `size=224`"
        )
    images = keras.Input((size, size, 3), dtype=model.inputs[0].dtype)
    return keras.Model(images, model(images))


def _pool(keras: Any, file: str, model: Any) -> Any:
    """Return a model of one vector an image; of an output with places the mean is taken."""
    outputs = model.outputs
    rank = len(outputs[0].shape)
    if len(outputs) != 1 or rank not in (2, 4):
        found = ", ".join(str(list(output.shape)) for output in outputs)
        raise ModelError(f"{file}: the model returns {found}; give the `layer` with the features")
    if rank == 2:
        return model
    return keras.Model(model.inputs[0], keras.layers.GlobalAveragePooling2D()(outputs[0]))


def _preprocessing(keras: Any, pixels: ModelSpec, dtype: str) -> Callable[[Any], Any]:
    mean, std = (np.array(values, np.float32) for values in (pixels.mean, pixels.std))

    def preprocess(images: Any) -> Any:
        scaled = (images * np.float32(pixels.scale) - mean) / std
        ordered = scaled[..., ::-1] if pixels.channels == "BGR" else scaled
        whole = keras.ops.round(ordered) if "int" in dtype else ordered
        return keras.ops.cast(whole, dtype)

    return preprocess
