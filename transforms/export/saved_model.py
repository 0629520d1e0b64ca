"""A SavedModel with the TF-Hub feature vector interface, of a Keras model.

The interface: https://www.tensorflow.org/hub/reusable_saved_models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.export.compare import Exported, Features, Pixels
from beamvec.transforms.inference.description import write_description
from beamvec.transforms.inference.fields import name_differences
from beamvec.transforms.inference.model_files import ModelFiles, import_tensorflow


def import_keras() -> Any:
    """Import Keras on TensorFlow.

    Raises:
        ModelError: if Keras is set up for another backend, or another order of axes.
    """
    import_tensorflow()
    import keras

    backend, axes = keras.config.backend(), keras.config.image_data_format()
    if (backend, axes) != ("tensorflow", "channels_last"):
        raise ModelError(
            f"Keras is set to {backend} and {axes} here, and exporting needs tensorflow and "
            "channels_last: set KERAS_BACKEND=tensorflow, and look into ~/.keras/keras.json"
        )
    return keras


def save_model(
    model: Any, preprocess: Callable[[Any], Any], path: str, weights: str, source: str
) -> Exported:
    """Write a Keras model as a SavedModel with its preprocessing inside, and describe it.

    Args:
        model: a Keras model, images of its own scale [N, S, S, 3] -> features [N, D].
        preprocess: turns float32 RGB values in [0, 255] into the model's own scale, of NumPy's
            arrays and of TensorFlow's tensors.
        path: the folder to write.
        weights: a word or two on the weights.
        source: what the model was made from.
    """
    tf = import_tensorflow()
    root = as_feature_vector(tf, model, preprocess)
    tf.saved_model.save(root, path, signatures={"serving_default": root.serving_default})
    spec = ModelSpec(size=model.input_shape[1], dimension=model.output_shape[-1])
    notes = {"weights": weights, "source": source}
    write_description(ModelFiles(path, path), name_differences(dataclasses.asdict(spec)), notes)
    loaded = tf.saved_model.load(path)

    def original(pixels: Pixels) -> Features:
        scaled = preprocess(pixels.astype(np.float32))
        return np.asarray(model(scaled, training=False), np.float32)

    def result(pixels: Pixels) -> Features:
        return np.asarray(loaded(pixels.astype(np.float32) / 255, training=False))

    return Exported(spec, weights, original, result)


def as_feature_vector(tf: Any, model: Any, preprocess: Callable[[Any], Any]) -> Any:
    """Wrap a Keras model into an object that `tf.saved_model.save` gives the TF-Hub interface.

    Args:
        tf: the tensorflow module.
        model: a Keras model, images of its own scale [N, S, S, 3] -> features [N, D].
        preprocess: turns float32 RGB values in [0, 255] into the model's own scale.
    """
    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="inputs")
    root = tf.train.Checkpoint()

    @tf.function
    def call(inputs: Any, training: bool = False) -> Any:
        features = model(preprocess(inputs * 255.0), training=training)
        return tf.cast(features, tf.float32)

    @tf.function(input_signature=[spec])
    def serving_default(inputs: Any) -> dict[str, Any]:
        return {"feature_vector": call(inputs, training=False)}

    for training in (False, True):
        call.get_concrete_function(spec, training=training)
    root.__call__ = call
    root.serving_default = serving_default
    root.variables = [variable.value for variable in model.variables]
    root.trainable_variables = [variable.value for variable in model.trainable_variables]
    root.regularization_losses = []
    return root
