"""OpenVINO beside TensorFlow."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import samples
from beamvec.errors import ModelError
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import import_tensorflow


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--engine", "openvino"], "engine is tensorflow, not openvino"),
        (["--engine", "openvino", "--append"], "engine is tensorflow, not openvino"),
    ],
)
def test_engines_are_not_mixed_in_a_dataset(extract, photos, capsys, flags, message):
    extract("--input", photos, "--max-failure-ratio", "1")
    assert extract("--input", photos, *flags) == 2
    assert message in capsys.readouterr().err


def test_openvino_gives_the_same_dataset_but_for_rounding(extract, photos, dataset):
    flags = ["--input", photos, "--max-failure-ratio", "1"]
    extract(*flags)
    uris, vectors = dataset().read_uris(), dataset().read_vectors()
    failures = dataset().read_failures()
    assert extract(*flags, "--engine", "openvino", "--overwrite") == 0
    assert dataset().settings.engine == "openvino"
    again_uris, again = dataset().read_uris(), dataset().read_vectors()
    assert again_uris == uris
    np.testing.assert_allclose(again, vectors, rtol=1e-5, atol=1e-5)
    assert dataset().read_failures().equals(failures)


def test_openvino_must_be_installed(model_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match=r"pip install 'beamvec\[openvino\]'"):
        load_model(ModelConfig(model_path, "openvino", batch_size=7))


def test_a_model_that_openvino_cannot_run_is_refused(tmp_path):
    def call(images):
        tf = import_tensorflow()
        means = tf.reduce_mean(images, [1, 2])
        return {"features": tf.strings.to_number(tf.strings.as_string(means))}

    samples.save_model(str(tmp_path / "m"), call)
    assert load_model(ModelConfig(str(tmp_path / "m"), batch_size=2)).dimension == 3
    with pytest.raises(ModelError, match=r"operations: AsString.* use `engine=tensorflow`"):
        load_model(ModelConfig(str(tmp_path / "m"), "openvino", batch_size=2))
