"""Models of `keras.applications`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from beamvec.errors import ModelError
from beamvec.transforms.export.compare import Exported
from beamvec.transforms.export.names import suggest
from beamvec.transforms.export.saved_model import import_keras, save_model
from beamvec.transforms.inference.contract import DEFAULT_INPUT_SIZE
from beamvec.transforms.inference.model_files import first_line

KINDS_OF_WEIGHTS = ("imagenet", "random")
"""What `weights` takes but for a file."""


def export_model(architecture: str, weights: str, path: str, seed: int = 0) -> Exported:
    """Write a SavedModel with the preprocessing inside and the features pooled.

    It takes images float32 [N, S, S, 3] RGB in [0, 1], S as the architecture has it by default, and
    returns float32 [N, D]. It is callable with `training`, has `variables`, `trainable_variables`
    and `regularization_losses`, and a signature `serving_default`.

    Args:
        architecture: a name of `keras.applications`, such as ResNet50V2.
        weights: `imagenet` (downloaded by Keras), `random`, or a Keras weights file without the
            classification layer.
        path: the folder to write.
        seed: fixes `random` weights.

    Raises:
        ModelError: if the architecture is unknown or the weights cannot be had.
    """
    if weights not in KINDS_OF_WEIGHTS and not os.path.isfile(weights):
        raise ModelError(f"`weights={weights}`: no such file; or give imagenet or random")
    keras = import_keras()
    build = _find_architecture(keras, architecture)
    size = _default_size(build)
    keras.utils.set_random_seed(seed)
    try:
        model = build(
            include_top=False,
            pooling="avg",
            weights=None if weights == "random" else weights,
            input_shape=(size, size, 3),
        )
    except Exception as error:  # Keras turns download errors and misfits into bare Exceptions.
        raise ModelError(f"cannot load weights {weights}: {first_line(error)}") from error
    word = weights if weights in KINDS_OF_WEIGHTS else "file"
    return save_model(model, _preprocessing(build), path, word, f"keras:{architecture}")


def list_architectures(keras: Any) -> list[str]:
    """Return the names that `export_model` takes, all that this Keras has."""
    return sorted(name for name in vars(keras.applications) if name[0].isupper())


def _find_architecture(keras: Any, name: str) -> Callable[..., Any]:
    known = list_architectures(keras)
    if name in known:
        return getattr(keras.applications, name)
    raise ModelError(
        f"Keras {keras.__version__} has no architecture {name}{suggest('keras', name, known)}"
    )


def _preprocessing(build: Callable[..., Any]) -> Callable[[Any], Any]:
    # Each architecture stands beside its own; the public modules lack some architectures.
    return sys.modules[build.__module__].preprocess_input


def _default_size(build: Callable[..., Any]) -> int:
    """Return S; Keras tells it of a model with its classes only, so one is made and dropped.

    MobileNetV3's classifier takes any size; its weights were trained on 224 pixels.
    """
    return build(weights=None, classes=1).input_shape[1] or DEFAULT_INPUT_SIZE
