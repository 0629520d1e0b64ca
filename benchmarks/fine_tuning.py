"""Fine-tuning a Keras network for a few classes, for `transfer.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

BACKBONES = ("efficientnet-lite0", "keras:MobileNetV2", "FILE.keras")
"""What can be fine-tuned: the registry's weights, Keras's own (a download), or a file.

A model of a file takes pixels from 0 to 255 [N, S, S, 3] and returns features [N, D].
"""

_BATCH = 32
_RATE = 1e-4
_SMOOTHING = 0.1
_SHIFT = 1 / 16
"""How far an image is moved at most, as a part of its width."""

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
Read = Callable[[Rows], Pixels]
"""Returns the pixels of some images."""


def load_backbone(name: str) -> Any:
    """Return a Keras model of pixels from 0 to 255 -> features [N, D], one of `BACKBONES`.

    Raises:
        SystemExit: if the weights cannot be had.
    """
    import keras

    if name.endswith(".keras"):
        return keras.saving.load_model(name, compile=False)
    if name == BACKBONES[0]:
        from beamvec.transforms.export.efficientnet_lite import load_keras_model

        return _scale(load_keras_model(), 1 / 128, -127 / 128)
    if name != BACKBONES[1]:
        raise SystemExit(f"--backbone {name}: choose one of {', '.join(BACKBONES)}")
    try:
        network = keras.applications.MobileNetV2(include_top=False, pooling="avg")
    except Exception as error:  # Keras turns download errors into bare Exceptions.
        raise SystemExit(f"--backbone {name}: its weights cannot be had: {error}") from error
    return _scale(network, 1 / 127.5, -1.0)


def _scale(network: Any, scale: float, offset: float) -> Any:
    """Put the scaling of pixels into a network, so that its file says what it takes."""
    import keras

    images = keras.Input(network.input_shape[1:])
    return keras.Model(images, network(keras.layers.Rescaling(scale, offset)(images)))


def build_classifier(backbone: Any, classes: int) -> Any:
    """Put a layer `features` and a softmax over classes on a backbone."""
    import keras

    images = keras.Input(backbone.input_shape[1:])
    features = keras.layers.Activation("linear", name="features")(backbone(images))
    return keras.Model(images, keras.layers.Dense(classes, "softmax", name="head")(features))


def set_head(model: Any, fitted: Any) -> None:
    """Give the head the weights of a linear probe of the frozen features.

    From a random head the first steps would spoil the backbone: https://arxiv.org/abs/2202.10054.

    Args:
        model: of `build_classifier`.
        fitted: a standardisation and a logistic regression of scikit-learn.
    """
    scaler, regression = fitted
    weights, bias = regression.coef_, regression.intercept_
    if len(weights) == 1:  # Of two classes scikit-learn keeps the second one's logit alone.
        weights, bias = np.stack([weights[0] * 0, weights[0]]), np.array([0.0, bias[0]])
    weights = weights / scaler.scale_
    model.get_layer("head").set_weights([weights.T, bias - weights @ scaler.mean_])


def fine_tune(model: Any, read: Read, truth: Rows, train: Rows, epochs: int, flip: bool) -> None:
    """Train all layers, with Adam and a rate that falls to nothing as a cosine does.

    Args:
        model: of `build_classifier`.
        read: gives pixels.
        truth: the class of each image.
        train: the images to learn from.
        epochs: how often each is seen, each time shifted a little.
        flip: whether a mirror image is of the same class.
    """
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False  # Statistics of so few images would be worse than ImageNet's.
    steps = epochs * -(-len(train) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(_RATE, steps)
    # The head fits the training part already, and without smoothing would leave nothing to learn.
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=_SMOOTHING)
    model.compile(keras.optimizers.Adam(rate), loss)
    wanted = np.eye(model.output_shape[1], dtype=np.float32)[truth]
    random = np.random.default_rng(0)
    for epoch in range(epochs):
        order, losses = random.permutation(train), []
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            pixels = np.stack([_vary(random, image, flip) for image in read(rows)])
            losses.append(float(model.train_on_batch(pixels.astype(np.float32), wanted[rows])))
        print(f"epoch {epoch + 1} of {epochs}, loss {np.mean(losses):.3f}", file=sys.stderr)


def _vary(random: np.random.Generator, image: Pixels, flip: bool) -> Pixels:
    """Shift an image a little, and mirror every second one."""
    size = len(image)
    most = max(1, round(size * _SHIFT))
    padded = np.pad(image, [(most, most), (most, most), (0, 0)], "edge")
    down, right = random.integers(0, 2 * most + 1, 2)
    moved = padded[down : down + size, right : right + size]
    return moved[:, ::-1] if flip and random.random() < 0.5 else moved


def score(model: Any, read: Read, truth: Rows, rows: Rows) -> float:
    """Return the part of some images that the network's own head classifies rightly."""
    right = 0
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        likelihoods = model.predict_on_batch(read(batch).astype(np.float32))
        right += int((likelihoods.argmax(axis=1) == truth[batch]).sum())
    return right / len(rows)
