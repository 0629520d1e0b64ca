"""The architectures of `keras.applications`, exported."""

from __future__ import annotations

import os

import numpy as np
import pytest

import samples
from beamvec.pipeline.commands.main import main
from beamvec.transforms.export.compare import compare, make_images
from beamvec.transforms.export.keras_models import export_model, list_architectures
from beamvec.transforms.export.saved_model import import_keras
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import load_model

ONE_OF_EACH = {
    # Of each kind of preprocessing one, and what it makes of pixels from 0 to 255.
    "VGG16": lambda pixels: pixels[..., ::-1] - np.float32([103.939, 116.779, 123.68]),
    "DenseNet121": lambda pixels: (
        (pixels / 255 - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    ),
    "MobileNetV3Small": lambda pixels: pixels,
}
# Through so many layers that are not trained values grow a million times, and rounding with them:
# pixels that are changed by 1e-5 give features that are changed by half.
GROWING = {"EfficientNetV2M", "EfficientNetV2L"}
SIZES = {"InceptionV3": 299, "Xception": 299, "NASNetLarge": 331, "EfficientNetB7": 600}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_exported_models_equal_keras(tmp_path, name, capsys):
    path = str(tmp_path / "m")
    words = ["model", "export", f"keras:{name}", path, "--weights", "random", "--seed", "3"]
    assert main(words) == 0
    assert "RANDOM WEIGHTS" in capsys.readouterr().out
    keras = import_keras()
    keras.utils.set_random_seed(3)
    build = getattr(keras.applications, name)
    reference = build(include_top=False, pooling="avg", weights=None, input_shape=(224, 224, 3))
    pixels = np.stack([np.asarray(samples.make_image(i, 224, 224)) for i in range(2)])
    expected = reference.predict(ONE_OF_EACH[name](pixels.astype(np.float32)), verbose=0)
    found = load_model(ModelConfig(path, batch_size=2)).embed_pixels(pixels)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_exported_models_have_the_interface_of_the_hub(tmp_path):
    import tensorflow_hub as hub

    keras = import_keras()
    keras.utils.set_random_seed(5)
    build = keras.applications.MobileNet
    reference = build(include_top=False, pooling="avg", weights=None, input_shape=(224, 224, 3))
    reference.save_weights(tmp_path / "w.weights.h5")
    path = str(tmp_path / "m")
    assert export_model("MobileNet", str(tmp_path / "w.weights.h5"), path).weights == "file"
    pixels = np.stack([np.asarray(samples.make_image(i, 224, 224)) for i in range(2)])
    expected = reference.predict(pixels / np.float32(127.5) - 1, verbose=0)
    close = {"rtol": 1e-3, "atol": 1e-4 * np.abs(expected).max()}
    loaded = hub.load(path)
    images = pixels.astype(np.float32) / 255
    np.testing.assert_allclose(loaded(images).numpy(), expected, **close)
    signature = loaded.signatures["serving_default"](inputs=images)["feature_vector"]
    np.testing.assert_allclose(signature.numpy(), expected, **close)
    assert np.abs(loaded(images, training=True).numpy() - expected).max() > 1e-2
    assert len(loaded.variables) == len(reference.variables)
    assert len(loaded.trainable_variables) == len(reference.trainable_variables)
    assert list(loaded.regularization_losses) == []


def test_all_architectures_of_this_keras_are_known():
    known = list_architectures(import_keras())
    assert {*ONE_OF_EACH, *SIZES, "EfficientNetV2B0", "ConvNeXtTiny", "VGG16"} <= set(known)
    assert len(known) >= 38


def settle(name: str, path: str) -> str:
    """Write random weights whose batch norms know the values that they get, as trained ones do."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(include_top=False, weights=None, pooling="avg")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    pixels = make_images(480).astype(np.float32)
    model(pixels, training=True)
    model.save_weights(path)
    return path


@pytest.mark.skipif(
    os.environ.get("BEAMVEC_MODELS") != "all", reason="takes an hour; BEAMVEC_MODELS=all runs it"
)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list_architectures(import_keras()))
def test_every_architecture_can_be_exported(tmp_path, name):
    weights = settle(name, str(tmp_path / "w.weights.h5")) if name in GROWING else "random"
    exported = export_model(name, weights, str(tmp_path / "m"))
    agreement = compare(exported)
    print(f"{name}: size {exported.spec.size}, least cosine {agreement.cosine:.8f}")
    assert exported.spec.size == SIZES.get(name, exported.spec.size)
    assert agreement.cosine >= 0.99999
