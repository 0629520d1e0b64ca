"""Models, loaded and called."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import forget_models

import samples
from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import FeatureModel, load_model
from beamvec.transforms.inference.model_files import import_tensorflow
from beamvec.transforms.inference.registry import ENGINES


@pytest.fixture(autouse=True)
def fresh():
    """Load models anew in each test."""
    forget_models()


def test_loaded_once_whatever_the_number_of_threads(model_path, monkeypatch):
    tf = import_tensorflow()
    load, loads = tf.saved_model.load, []
    monkeypatch.setattr(tf.saved_model, "load", lambda path: loads.append(path) or load(path))
    with ThreadPoolExecutor(8) as threads:
        models = list(
            threads.map(lambda _: load_model(ModelConfig(model_path, batch_size=8)), range(16))
        )
    assert len(loads) == 1
    assert len({model.load_id for model in models}) == 1


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_a_model_that_was_written_anew_is_loaded_anew(tmp_path, engine):
    pytest.importorskip(engine)
    path = str(tmp_path / "m")
    config, pixels = ModelConfig(path, engine, batch_size=2), np.full((1, 32, 32, 3), 99, np.uint8)
    samples.save_tiny_model(path, seed=0)
    first = load_model(config)
    assert load_model(config) is first
    samples.save_tiny_model(path, seed=1)
    other = load_model(config)
    assert other.fingerprint != first.fingerprint
    assert not np.array_equal(other.embed_pixels(pixels), first.embed_pixels(pixels))
    Path(path, "beamvec.json").write_text('{"scale": 1}')
    assert load_model(config).spec.scale == 1
    # A run goes on with the model that it has begun with.
    shutil.rmtree(path)
    assert load_model(config, (other.fingerprint, replace(other.spec, scale=1.0)))


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_a_model_that_changes_while_it_is_loaded_is_refused(tmp_path, monkeypatch, engine):
    pytest.importorskip(engine)
    path = str(tmp_path / "m")
    samples.save_tiny_model(path)
    chosen = ENGINES[engine]

    def compile_late(files, said, config):
        samples.save_tiny_model(path, seed=1)
        return chosen.compile(files, said, config)

    monkeypatch.setitem(ENGINES, engine, replace(chosen, compile=compile_late))
    with pytest.raises(ModelError, match="changed while it was loaded"):
        load_model(ModelConfig(path, engine))


def test_training_is_off(model_path):
    loaded = load_model(ModelConfig(model_path, batch_size=2))
    assert loaded.entry == "__call__(training=False)"
    assert not loaded.embed_pixels(np.zeros((1, 32, 32, 3), np.uint8)).any()  # 1.0 with training.


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_a_model_with_only_a_signature_is_called_by_it(tmp_path, engine):
    def call(images):
        tf = import_tensorflow()
        return {"anything": tf.reduce_mean(images, [1, 2])}

    samples.save_model(str(tmp_path / "m"), call)
    loaded = load_model(ModelConfig(str(tmp_path / "m"), engine, batch_size=4))
    assert (loaded.entry, loaded.input_size, loaded.dimension) == ("serving_default", 32, 3)
    pixels = np.full((1, 32, 32, 3), [255, 51, 0], np.uint8)
    np.testing.assert_allclose(loaded.embed_pixels(pixels), [[1, 0.2, 0]], atol=1e-5)


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_a_free_input_size_means_224(tmp_path, engine):
    def call(images):
        return {"f": import_tensorflow().reduce_mean(images, [1, 2])}

    samples.save_model(str(tmp_path / "m"), call, (None, None, None, 3))
    assert load_model(ModelConfig(str(tmp_path / "m"), engine, batch_size=2)).input_size == 224


def identity(images):
    return {"features": images}


def two_outputs(images):
    means = import_tensorflow().reduce_mean(images, [1, 2])
    return {"a": means, "b": means}


def half_the_rows(images):
    return {"features": import_tensorflow().reduce_mean(images, [1, 2])[::2]}


@pytest.mark.parametrize(
    ("call", "shape", "message"),
    [
        (
            identity,
            (None, 32, 32, 3),
            "which needs `spec=pool=mean`",
        ),
        (two_outputs, (None, 32, 32, 3), r"several outputs \(a, b\)"),
        (half_the_rows, (None, 32, 32, 3), r"shape \[16, 3\] for 32 images"),
        (identity, (None, 32, 32, 1), r"its input \w+ is float32 \[\?, 32, 32, 1\]"),
        (identity, (None, 32, 48, 3), "no model of square images"),
        (identity, (None, 32), "no model of square images"),
    ],
)
@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_what_is_no_feature_vector_is_refused(tmp_path, capsys, engine, call, shape, message):
    samples.save_model(str(tmp_path / "m"), call, shape)
    spec = ModelConfig(str(tmp_path / "m"), engine)
    with pytest.raises(ModelError, match=message):
        load_model(spec).embed_pixels(np.zeros((1, 32, 32, 3), np.uint8))
    assert main(["model", "check", str(tmp_path / "m")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_short_answer_is_an_error_never_a_lost_row():
    config, spec = ModelConfig("m", batch_size=2), ModelSpec(size=4, dimension=3)
    short = FeatureModel(
        config, "", spec, "", True, "", None, "", lambda _: np.zeros((1, 3), np.float32)
    )
    with pytest.raises(ModelError, match=r"shape \[1, 3\] for 2 images"):
        short.embed_pixels(np.zeros((5, 4, 4, 3), np.uint8))
