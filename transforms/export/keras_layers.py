"""Inside a Keras model: its layers by path, the model up to one of them, and what it does first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from beamvec.errors import ModelError

_NAMED = 12
"""How many layers an error names, from the end, where features are."""

_SCALED_SPAN = (0.3, 16.0)
"""How far black and white are apart once pixels are scaled: 1 for [0, 1], 2 for [-1, 1], about 4.4
for the mean and deviation of ImageNet."""

_CENTRED_BLACK = (-140.0, -90.0)
"""Where black is once the mean of ImageNet, 104 to 124, is taken off."""


def cut_off(keras: Any, model: Any, name: str) -> Any:
    """Return the model up to a layer, as a model of its own that shares the layers.

    Args:
        keras: the module.
        model: a Sequential or a Functional model.
        name: a layer's name, or its path such as `backbone/conv5` within a nested model.

    Raises:
        ModelError: if there is no such layer, or more than one.
    """
    layers = dict(_walk(keras, model))
    paths = [path for path in layers if path == name or path.endswith(f"/{name}")]
    if len(paths) > 1 and name in paths:
        paths = [name]
    if len(paths) == 1:
        return _run_to(keras, model, paths[0])
    if paths:
        raise ModelError(f"`layer={name}`: there are several; give one of {', '.join(paths)}")
    useful = [path for path, layer in layers.items() if _has_features(keras, layer)]
    raise ModelError(
        f"`layer={name}`: the model has no such layer; its last ones are "
        + ", ".join(useful[-_NAMED:])
    )


def _walk(keras: Any, model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all layers with their paths, those of a nested model before itself."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if _is_nested(keras, layer):
            yield from _walk(keras, layer, f"{prefix}{layer.name}/")
        yield prefix + layer.name, layer


def _is_nested(keras: Any, layer: Any) -> bool:
    # A model that is neither is a subclass's, whose layers are called by its code.
    return isinstance(layer, keras.Sequential) or (
        isinstance(layer, keras.Model) and hasattr(layer, "operations")
    )


def _has_features(keras: Any, layer: Any) -> bool:
    idle = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.ZeroPadding2D)
    try:
        rank = len(layer.output.shape)
    except (AttributeError, ValueError):  # Never called, or called more than once.
        return False
    return rank in (2, 4) and not isinstance(layer, idle)


def _run_to(keras: Any, model: Any, path: str) -> Any:
    name, _, below = path.partition("/")
    inputs, layer, fed, output = _call_to(keras, model, name)
    return keras.Model(inputs, _run_to(keras, layer, below)(fed) if below else output)


def _call_to(keras: Any, model: Any, name: str) -> tuple[Any, Any, Any, Any]:
    """Call the layers of a model anew, up to one; return inputs, that layer, its input and output.

    A nested model's own output hangs on its own input, not on the model's around it.
    """
    if isinstance(model, keras.Sequential):
        inputs = output = keras.Input(batch_shape=model.input_shape, dtype=model.inputs[0].dtype)
        for layer in model.layers:
            fed, output = output, layer(output)
            if layer.name == name:
                return inputs, layer, fed, output
    calls = []

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        output = layer(*args, **options)
        if layer.name == name:
            calls.append((layer, args[0] if args else None, output))
        return output

    # Other layers than ours would get other weights.
    called = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call, recursive=False
    )
    if len(calls) != 1:
        raise ModelError(f"`layer={name}` is called {len(calls)} times in the model; give another")
    inputs = called.inputs
    return (inputs[0] if len(inputs) == 1 else inputs, *calls[0])


def takes_bytes(keras: Any, model: Any, size: int) -> bool:
    """Tell whether a model scales pixels of 0 to 255 itself, before its first layer with weights.

    Black and white are put in, and what arrives there is looked at: that is told of a `Rescaling`
    and a `Normalization`, of arithmetic such as `preprocess_input`, and of nested models alike.
    """
    images = np.stack([np.full((size, size, 3), value) for value in (0, 255)]).astype(np.float32)
    with _recorded(keras, model) as arrived:
        model(images, training=False)
    if not arrived:
        return False
    black, white = arrived[0]
    spans = np.abs(white - black)
    is_scaled = (spans >= _SCALED_SPAN[0]).all() and (spans <= _SCALED_SPAN[1]).all()
    low, high = _CENTRED_BLACK
    is_centred = bool(np.allclose(spans, 255) and (low <= black).all() and (black <= high).all())
    return bool(is_scaled) or is_centred


@contextmanager
def _recorded(keras: Any, model: Any) -> Iterator[list[npt.NDArray[np.float32]]]:
    """List what arrives at layers with weights while a model is called, float32 [N, channels]."""
    arrived: list[npt.NDArray[np.float32]] = []
    watched = [layer for _, layer in _walk(keras, model) if _computes(keras, layer)]

    def watch(layer: Any) -> None:
        call = layer.call

        def watched_call(inputs: Any, *args: Any, **options: Any) -> Any:
            values = np.asarray(inputs, np.float32)
            if values.ndim == 4:  # The centre, where no padding is.
                values = values[:, values.shape[1] // 2, values.shape[2] // 2]
            arrived.append(values)
            return call(inputs, *args, **options)

        layer.call = watched_call

    for layer in watched:
        watch(layer)
    try:
        yield arrived
    finally:
        for layer in watched:
            del layer.call


def _computes(keras: Any, layer: Any) -> bool:
    if _is_nested(keras, layer) or isinstance(layer, keras.layers.Normalization):
        return False
    # Random layers keep the state of a generator, which is no weight.
    return bool(layer.weights)
