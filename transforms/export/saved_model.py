"""A SavedModel with the TF-Hub feature vector interface, of a Keras model.

The interface: https://www.tensorflow.org/hub/reusable_saved_models.
"""

from __future__ import annotations

from typing import Any


def as_feature_vector(tf: Any, model: Any, preprocess: Any) -> Any:
    """Wrap a Keras model into an object that `tf.saved_model.save` gives the TF-Hub interface.

    Args:
        tf: the tensorflow module.
        model: a Keras model, images of its own scale [N, S, S, 3] -> features float32 [N, D].
        preprocess: turns RGB values in [0, 255] into the model's own scale.
    """
    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="inputs")
    root = tf.train.Checkpoint()

    @tf.function
    def call(inputs: Any, training: bool = False) -> Any:
        return model(preprocess(inputs * 255.0), training=training)

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
