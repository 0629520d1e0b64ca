"""Models made of Keras's."""

from __future__ import annotations

import numpy as np
import pytest

import samples
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import import_tensorflow


@pytest.mark.parametrize("name", ["ResNet50V2", "ResNet50"])
def test_exported_models_equal_keras(tmp_path, name, capsys):
    path = str(tmp_path / "m")
    assert (
        main(["model", "export", f"keras:{name}", path, "--weights", "random", "--seed", "3"]) == 0
    )
    assert "RANDOM WEIGHTS" in capsys.readouterr().out
    import_tensorflow()
    import keras
    import tensorflow_hub as hub

    from beamvec.transforms.export.keras_models import KERAS_MODULES

    keras.utils.set_random_seed(3)
    module = getattr(keras.applications, KERAS_MODULES[name])
    reference = getattr(module, name)(include_top=False, pooling="avg", weights=None)
    pixels = np.stack([np.asarray(samples.make_image(i, 224, 224)) for i in range(2)])
    expected = reference.predict(module.preprocess_input(pixels.astype(np.float32)), verbose=0)
    np.testing.assert_allclose(
        load_model(ModelConfig(path, batch_size=2)).embed_pixels(pixels),
        expected,
        rtol=1e-3,
        atol=1e-4,
    )
    loaded = hub.load(path)
    images = pixels.astype(np.float32) / 255
    np.testing.assert_allclose(loaded(images).numpy(), expected, rtol=1e-3, atol=1e-4)
    signature = loaded.signatures["serving_default"](inputs=images)["feature_vector"]
    np.testing.assert_allclose(signature.numpy(), expected, rtol=1e-3, atol=1e-4)
    assert np.abs(loaded(images, training=True).numpy() - expected).max() > 1e-2
    assert len(loaded.variables) == len(reference.variables)
    assert len(loaded.trainable_variables) == len(reference.trainable_variables)
    assert list(loaded.regularization_losses) == []


def test_export_takes_a_weights_file(tmp_path):
    import_tensorflow()
    import keras

    keras.utils.set_random_seed(5)
    reference = keras.applications.ResNet50V2(include_top=False, pooling="avg", weights=None)
    reference.save_weights(tmp_path / "w.weights.h5")
    command = ["model", "export", "keras:ResNet50V2", str(tmp_path / "m")]
    assert main([*command, "--weights", str(tmp_path / "w.weights.h5")]) == 0
    model = load_model(ModelConfig(str(tmp_path / "m"), batch_size=2))
    assert model.weights == "file"
    pixels = np.asarray(samples.make_image(1, 224, 224))[None]
    expected = reference.predict(pixels / np.float32(127.5) - 1, verbose=0)
    np.testing.assert_allclose(model.embed_pixels(pixels), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["keras:VGG16", "{new}"], "choose one of keras:ResNet50V2"),
        (["ResNet50V2", "{new}"], "write keras:ResNet50V2"),
        (["keras:ResNet50V2", "{old}"], "exists"),
        (["keras:ResNet50V2", "{new}", "--weights", "/nowhere.h5"], "no such file"),
        (["keras:ResNet50V2", "{new}", "--weights", __file__], "cannot load weights"),
    ],
)
def test_export_mistakes_end_with_2(tmp_path, capsys, flags, message):
    filled = [flag.format(new=tmp_path / "new", old=tmp_path) for flag in flags]
    assert main(["model", "export", *filled]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
