"""Whether XLA compiles a model: said, settled by a timing, kept with the dataset."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import forget_models

import samples
from beamvec import EmbedImages
from beamvec.embeddings import open_dataset
from beamvec.errors import ArgumentError, DatasetError, ModelError, PipelineError
from beamvec.pipeline.run import launch, settle
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import import_tensorflow
from beamvec.transforms.inference.xla import choose_xla, time_model


@pytest.fixture
def pixels(random) -> np.ndarray:
    """Noise, a batch and a half of it."""
    return random.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def test_a_compiled_model_makes_the_same_embeddings_but_for_rounding(model_path, pixels):
    config = ModelConfig(model_path, "tensorflow", batch_size=4)
    plain = load_model(config).embed_pixels(pixels)
    compiled = load_model(replace(config, xla="on"))
    np.testing.assert_allclose(compiled.embed_pixels(pixels), plain, rtol=1e-4, atol=1e-5)
    again = load_model(config).embed_pixels(pixels)  # Nothing of it stays with the other.
    np.testing.assert_array_equal(again, plain)


def test_what_xla_cannot_compile_is_refused_before_any_work(extract, photos, tmp_path, capsys):
    def call(images):
        tf = import_tensorflow()
        means = tf.reduce_mean(images, [1, 2])
        return {"f": tf.strings.to_number(tf.strings.as_string(means))}

    samples.save_model(str(tmp_path / "m"), call)
    flags = ["--input", photos / "group0", "--xla"]
    assert extract(*flags, "on", model=str(tmp_path / "m")) == 2
    error = capsys.readouterr().err
    assert "with --xla on" in error
    assert error.count("\n") == 1
    config = ModelConfig(str(tmp_path / "m"), "tensorflow")
    assert choose_xla(config, lambda _: 1.0, lambda: True) == "off"


@pytest.mark.parametrize(
    ("engine", "precision", "told"),
    [
        ("openvino", "float32", "XLA is TensorFlow's"),
        ("tensorflow", "bfloat16", "`xla=on` has no `precision=bfloat16`"),
    ],
)
def test_what_it_does_not_go_with_is_refused(engine, precision, told):
    with pytest.raises(ArgumentError, match=told):
        ModelConfig("m", engine, precision, xla="on")
    # Left open, it is settled without looking.
    assert choose_xla(ModelConfig("m", engine, precision, xla="auto"), pytest.fail) == "off"


def test_an_open_choice_is_nothing_to_load():
    with pytest.raises(ArgumentError, match="`xla=auto` is settled where a run begins"):
        load_model(ModelConfig("m", xla="auto"))
    with pytest.raises(ArgumentError, match="give on or off here"):
        EmbedImages(xla="auto")
    with pytest.raises(ArgumentError, match="`xla=perhaps` is unknown; it takes off, on, auto"):
        ModelConfig(xla="perhaps")


@pytest.mark.parametrize(("compiled_s", "chosen"), [(0.5, "on"), (0.97, "off"), (2.0, "off")])
def test_a_timing_on_a_gpu_decides_and_a_close_one_is_off(model_path, compiled_s, chosen):
    def timing(model):
        return compiled_s if model.config.xla == "on" else 1.0

    config = ModelConfig(model_path, "tensorflow", batch_size=2, xla="auto")
    assert choose_xla(config, timing, lambda: True) == chosen
    assert choose_xla(config, timing, lambda: False) == "off"


def test_a_batch_takes_time(model_path):
    assert time_model(load_model(ModelConfig(model_path, batch_size=4))) > 0


def test_auto_is_off_on_this_machine_and_a_resume_never_chooses_another(
    extract, photos, tmp_path, monkeypatch
):
    """The bytes of a run that was killed are those of one that was not."""

    def die(*_):
        raise PipelineError("killed")

    flags = ["--input", photos / "group0", "--xla", "auto"]
    with monkeypatch.context() as patch:
        patch.setattr(settle, "choose_xla", lambda _: "on")
        patch.setattr(launch, "run_pipeline", die)
        assert extract(*flags) == 3
    monkeypatch.setattr(settle, "choose_xla", pytest.fail)
    for more in ([], [], ["--append"], ["--overwrite", "--xla", "on"]):
        assert extract(*flags, *more) == 0
        run = json.loads((tmp_path / "out" / "run.json").read_text())
        assert run["settings"]["xla"] == "on"
    monkeypatch.undo()
    assert extract(*flags, output=tmp_path / "other") == 0
    assert open_dataset(str(tmp_path / "other")).settings.xla == "off"
    with pytest.raises(DatasetError, match="their xla differ: on and off"):
        open_dataset(str(tmp_path / "out"), str(tmp_path / "other"))


def test_what_is_replaced_decides_nothing(extract, photos, tmp_path, monkeypatch):
    flags = ["--input", photos / "group0", "--overwrite"]
    assert extract(*flags) == 0
    monkeypatch.setattr(settle, "choose_xla", lambda _: "on")
    assert extract(*flags, "--xla", "auto") == 0
    assert open_dataset(str(tmp_path / "out")).settings.xla == "on"


def test_a_dataset_is_not_appended_to_with_the_other(extract, photos, capsys):
    assert extract("--input", photos / "group0") == 0
    assert extract("--input", photos / "group0", "--append", "--xla", "on") == 2
    assert "xla is off, not on" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_no_matter_of_xla(tmp_path):
    forget_models()
    with pytest.raises(ModelError):
        choose_xla(ModelConfig(str(tmp_path), "tensorflow"), pytest.fail, lambda: True)
