"""Models of every format, against a direct call in their own framework."""

from __future__ import annotations

import models
import numpy as np
import pytest

import samples
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inference.config import ModelConfig, make_given
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import ModelFiles, import_tensorflow
from beamvec.transforms.inference.registry import ENGINES

RUNS = [(name, engine) for name, case in models.CASES.items() for engine in case.engines]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make each case once."""
    known = {}

    def make(name):
        if name not in known:
            known[name] = models.CASES[name].make(tmp_path_factory.mktemp("model"))
        return known[name]

    return make


def make_pixels(count: int) -> np.ndarray:
    size = models.SIZE
    return np.stack([np.asarray(samples.make_image(i, size, size)) for i in range(count)])


def least_cosine(features: np.ndarray, expected: np.ndarray) -> float:
    lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((features * expected).sum(axis=1) / lengths).min())


@pytest.mark.parametrize(("name", "engine"), RUNS)
def test_embeddings_are_those_of_a_direct_call(made, name, engine):
    handle, call = made(name)
    given = make_given(models.CASES[name].spec)
    model = load_model(ModelConfig(str(handle), engine, batch_size=4, given=given))
    pixels = make_pixels(9)
    features, expected = model.embed_pixels(pixels), call(pixels)
    assert features.shape == expected.shape == (9, models.DIMENSION)
    assert least_cosine(features, expected) >= 0.99999
    np.testing.assert_allclose(features, expected, rtol=2e-3, atol=2e-3)
    assert least_cosine(expected, np.roll(expected, 1, axis=0)) < 0.999  # They tell images apart.


@pytest.mark.parametrize("name", [name for name, case in models.CASES.items() if case.spec])
def test_what_has_to_be_said_is_named(made, name, capsys):
    handle, _ = made(name)
    spec = dict(models.CASES[name].spec)
    engine = ["--engine", models.CASES[name].engines[-1]]
    for field in ("signature", "input_name", "output_name", "pool"):
        if field in spec:
            flags = [f"--spec={key}={value}" for key, value in spec.items() if key != field]
            assert main(["model", "check", str(handle), *engine, *flags]) == 2
            error = capsys.readouterr().err
            assert f"--spec {field}=" in error
            assert error.count("\n") == 1
    flags = [f"--spec={key}={value}" for key, value in spec.items()]
    assert main(["model", "check", str(handle), *engine, *flags]) == 0


def test_a_model_that_writes_files_is_refused_unless_it_is_trusted(tmp_path, capsys):
    def call(images):
        tf = import_tensorflow()
        with tf.control_dependencies([tf.io.write_file(str(tmp_path / "mark"), "here")]):
            return {"features": tf.reduce_mean(images, [1, 2])}

    samples.save_model(str(tmp_path / "m"), call)
    model, output = str(tmp_path / "m"), str(tmp_path / "o")
    extract = ["extract", "--input", __file__, "--output", output, "--model", model]
    for command in (["model", "check", model], extract):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "could read or write files: it has the operations WriteFile" in error
        assert "--trust-model" in error
    assert not (tmp_path / "mark").exists()
    assert main(["model", "check", str(tmp_path / "m"), "--trust-model"]) == 0
    assert (tmp_path / "mark").exists()


def test_the_same_weights_give_the_same_neighbours_in_every_format(tmp_path):
    pixels, found = make_pixels(40), {}
    for name, path in models.make_twins(tmp_path).items():
        for engine, has in ENGINES.items():
            if ModelFiles.fetch(str(path)).format in has.formats:
                model = load_model(ModelConfig(str(path), engine, batch_size=8))
                found[name, engine] = model.embed_pixels(pixels)
    assert len(found) == 5
    first = next(iter(found.values()))
    for features in found.values():
        assert least_cosine(features, first) >= 0.99999
        np.testing.assert_array_equal(find_neighbours(features), find_neighbours(first))


def find_neighbours(features: np.ndarray) -> np.ndarray:
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -2)
    return cosines.argmax(axis=1)
