"""Models of `keras.applications`."""

from __future__ import annotations

import os

from beamvec.errors import ModelError
from beamvec.transforms.export.saved_model import as_feature_vector
from beamvec.transforms.inference.contract import DEFAULT_INPUT_SIZE
from beamvec.transforms.inference.description import write_description
from beamvec.transforms.inference.model_files import ModelFiles, import_tensorflow

KERAS_MODULES = {"ResNet50V2": "resnet_v2", "ResNet50": "resnet"}
"""Architectures that can be exported, and the module of `keras.applications` that has each."""


def export_model(architecture: str, weights: str, path: str, seed: int = 0) -> None:
    """Write a SavedModel with the preprocessing inside and the features pooled.

    It takes images float32 [N, 224, 224, 3] RGB in [0, 1] and returns float32 [N, 2048]. It is
    callable with `training`, has `variables`, `trainable_variables` and `regularization_losses`,
    and a signature `serving_default`.

    Args:
        architecture: a key of `KERAS_MODULES`.
        weights: `imagenet` (downloaded by Keras), `random`, or a Keras weights file without the
            classification layer.
        path: the folder to write.
        seed: fixes `random` weights.

    Raises:
        ModelError: if the architecture is unknown or the weights cannot be had.
    """
    if architecture not in KERAS_MODULES:
        known = ", ".join(f"keras:{name}" for name in KERAS_MODULES)
        raise ModelError(f"keras:{architecture} cannot be exported; choose one of {known}")
    if weights not in ("imagenet", "random") and not os.path.isfile(weights):
        raise ModelError(f"`weights={weights}`: no such file; or give imagenet or random")
    tf = import_tensorflow()
    import keras

    keras.utils.set_random_seed(seed)
    module = getattr(keras.applications, KERAS_MODULES[architecture])
    try:
        model = getattr(module, architecture)(
            include_top=False,
            pooling="avg",
            weights=None if weights == "random" else weights,
            input_shape=(DEFAULT_INPUT_SIZE, DEFAULT_INPUT_SIZE, 3),
        )
    except Exception as error:  # Keras turns download errors and misfits into bare Exceptions.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"cannot load weights {weights}: {reason}") from error
    root = as_feature_vector(tf, model, module.preprocess_input)
    tf.saved_model.save(root, path, signatures={"serving_default": root.serving_default})
    note = {"weights": weights if weights in ("imagenet", "random") else "file"}
    write_description(ModelFiles(path, path), {}, note)
