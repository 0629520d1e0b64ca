"""`.keras` files, exported whole or up to a layer."""

from __future__ import annotations

import numpy as np
import pytest

import samples
from beamvec.pipeline.commands.main import main
from beamvec.transforms.export.saved_model import import_keras
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import import_tensorflow

SIZE = 24
PIXELS = np.stack([np.asarray(samples.make_image(i, SIZE, SIZE)) for i in range(3)])


def save(tmp_path, *first, size=SIZE):
    """Save a fine-tuned model: layers of its own, a backbone as a layer, a head of 3 classes."""
    keras = import_keras()
    layers = keras.layers
    keras.utils.set_random_seed(1)
    backbone_input = keras.Input((size, size, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="conv1")(backbone_input)
    x = layers.BatchNormalization(name="normal")(x)
    x = layers.Conv2D(12, 3, activation="relu", name="conv2")(x)
    backbone = keras.Model(backbone_input, x, name="backbone")
    model = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.RandomFlip(),
            *first,
            backbone,
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax", name="classes"),
        ]
    )
    path = str(tmp_path / "mine.keras")
    model.save(path)
    return path, model, backbone


def export(path, tmp_path, *flags):
    target = str(tmp_path / "out")
    assert main(["model", "export", path, target, *flags]) == 0
    return load_model(ModelConfig(target, batch_size=2)).embed_pixels(PIXELS)


def rescaling():
    return import_keras().layers.Rescaling(1 / 255)


def test_a_whole_model_keeps_its_head_and_its_preprocessing(tmp_path):
    path, model, _ = save(tmp_path, rescaling())
    expected = model.predict(PIXELS.astype(np.float32), verbose=0)
    np.testing.assert_allclose(export(path, tmp_path), expected, atol=1e-5)


@pytest.mark.parametrize("layer", ["backbone", "backbone/conv1", "conv2", "pool"])
def test_layers_are_found_also_in_nested_models_and_pooled(tmp_path, layer):
    path, _, backbone = save(tmp_path, rescaling())
    inner = "conv1" if layer.endswith("conv1") else "conv2"
    keras = import_keras()
    cut = keras.Model(backbone.inputs, backbone.get_layer(inner).output)
    expected = cut.predict(PIXELS / np.float32(255), verbose=0).mean((1, 2))
    features = export(path, tmp_path, "--layer", layer)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert len(features[0]) == (8 if inner == "conv1" else 12)


def test_what_is_cut_off_is_not_in_the_file(tmp_path):
    path, *_ = save(tmp_path, rescaling())
    export(path, tmp_path, "--layer", "conv1")
    loaded = import_tensorflow().saved_model.load(str(tmp_path / "out"))
    assert [tuple(v.shape) for v in loaded.trainable_variables] == [(3, 3, 3, 8), (8,)]


@pytest.mark.parametrize(
    ("flags", "prepare"),
    [
        (["--scale", "1/127.5", "--mean", "1"], lambda pixels: pixels / 127.5 - 1),
        (
            ["--scale", "1", "--mean", "123,116,103", "--std", "2,3,4", "--channels", "BGR"],
            lambda pixels: ((pixels - [123, 116, 103]) / [2, 3, 4])[..., ::-1],
        ),
    ],
)
def test_what_a_model_expects_is_told_by_flags(tmp_path, capsys, flags, prepare):
    path, model, _ = save(tmp_path)
    assert main(["model", "export", path, str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "--scale 1/127.5 --mean 1" in error
    assert not (tmp_path / "out").exists()
    expected = model.predict(prepare(PIXELS.astype(np.float64)).astype(np.float32), verbose=0)
    np.testing.assert_allclose(export(path, tmp_path, *flags), expected, atol=1e-5)


def normalization():
    return import_keras().layers.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3)


def preprocess_input(library):
    keras = import_keras()
    images = keras.Input((SIZE, SIZE, 3))
    return keras.Model(images, getattr(keras.applications, library).preprocess_input(images))


@pytest.mark.parametrize(
    ("make", "is_known"),
    [
        (normalization, True),
        (lambda: preprocess_input("mobilenet"), True),
        (lambda: preprocess_input("resnet"), True),
        (lambda: preprocess_input("densenet"), True),
        # This one wants images in [0, 1].
        (lambda: import_keras().layers.Rescaling(2.0, offset=-1), False),
        (lambda: import_keras().layers.BatchNormalization(), False),
    ],
    ids=["normalization", "tf", "caffe", "torch", "from 0 to 1", "batch norm"],
)
def test_preprocessing_in_the_model_is_recognised(tmp_path, make, is_known):
    path, model, _ = save(tmp_path, make())
    if is_known:
        expected = model.predict(PIXELS.astype(np.float32), verbose=0)
        np.testing.assert_allclose(export(path, tmp_path), expected, atol=1e-5)
    else:
        assert main(["model", "export", path, str(tmp_path / "out")]) == 2


def test_a_size_that_is_left_free_is_asked_for(tmp_path, capsys):
    path, model, _ = save(tmp_path, rescaling(), size=None)
    assert main(["model", "export", path, str(tmp_path / "out")]) == 2
    assert "such as --size 224" in capsys.readouterr().err
    expected = model.predict(PIXELS.astype(np.float32), verbose=0)
    features = export(path, tmp_path, "--size", str(SIZE))
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_models_of_bytes_get_bytes(tmp_path):
    keras = import_keras()
    images = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(8, 3, name="conv")(x)
    model = keras.Model(images, keras.layers.Flatten()(x))
    model.save(tmp_path / "m.keras")
    expected = model.predict(PIXELS, verbose=0)
    features = export(str(tmp_path / "m.keras"), tmp_path)
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_an_unknown_layer_is_answered_with_those_that_make_sense(tmp_path, capsys):
    path, *_ = save(tmp_path, rescaling())
    assert main(["model", "export", path, str(tmp_path / "out"), "--layer", "poool"]) == 2
    error = capsys.readouterr().err
    assert error.endswith(
        "backbone/conv1, backbone/normal, backbone/conv2, backbone, pool, classes\n"
    )


def test_a_name_that_several_layers_have_is_refused(tmp_path, capsys):
    keras = import_keras()
    inner = [keras.Sequential([keras.layers.Conv2D(3, 1, name="conv")], name=n) for n in "ab"]
    keras.Sequential([keras.Input((SIZE, SIZE, 3)), *inner]).save(tmp_path / "m.keras")
    words = ["model", "export", str(tmp_path / "m.keras"), str(tmp_path / "out")]
    assert main([*words, "--layer", "conv", "--scale", "1"]) == 2
    assert "give one of a/conv, b/conv" in capsys.readouterr().err
    assert main([*words, "--layer", "b/conv", "--scale", "1"]) == 0


def test_lambda_layers_are_refused_by_name(tmp_path, capsys):
    keras = import_keras()
    halve = keras.layers.Lambda(lambda x: x / 2, name="halve", output_shape=(SIZE, SIZE, 3))
    path, *_ = save(tmp_path, keras.Sequential([halve]), rescaling())
    words = ["model", "export", path, str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "halve" in error
    assert "--trust-model" in error
    assert main([*words, "--trust-model"]) == 0


@pytest.mark.parametrize("shapes", [[(8, 8, 1)], [(8, 9, 3)], [(10,)], [(8, 8, 3), (8, 8, 3)]])
def test_what_is_no_model_of_images_is_refused(tmp_path, capsys, shapes):
    keras = import_keras()
    inputs = [keras.Input(shape) for shape in shapes]
    outputs = [keras.layers.Dense(2)(x) for x in inputs]
    keras.Model(inputs, outputs).save(tmp_path / "m.keras")
    assert main(["model", "export", str(tmp_path / "m.keras"), str(tmp_path / "out")]) == 2
    assert "expected one input [N, S, S, 3]" in capsys.readouterr().err
