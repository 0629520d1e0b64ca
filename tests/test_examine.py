"""Doubt, where people meet it: `model check`, `doctor` and the start of a run."""

from __future__ import annotations

import functools
import json

import models
import numpy as np
import pytest

import samples
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inference.config import ModelConfig, make_given
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import import_tensorflow


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shared):
    """A trained model of [0, 1], and the same ones for 0..255 and for [-1, 1]."""
    tf = import_tensorflow()
    folder = tmp_path_factory.mktemp("trained")
    right = tf.saved_model.load(str(shared / "models" / "efficientnet_lite0"))
    embed = right.signatures["serving_default"]
    ranges = {"0..255": lambda x: x / 255.0, "[-1, 1]": lambda x: (x + 1.0) / 2.0}
    for name, undo in ranges.items():
        root = tf.train.Checkpoint(inner=right)
        spec = tf.TensorSpec((None, 224, 224, 3), tf.float32, name="inputs")
        call = functools.partial(lambda undo, inputs: dict(embed(undo(inputs))), undo)
        root.serving_default = tf.function(call, input_signature=[spec])
        path = str(folder / name.strip("[]").replace(" ", ""))
        tf.saved_model.save(root, path, signatures={"serving_default": root.serving_default})
    return shared / "models" / "efficientnet_lite0", folder / "0..255", folder / "-1,1"


@pytest.mark.parametrize(
    ("place", "told", "spec"),
    [
        (1, "--spec scale=1", {"scale": "1"}),
        (2, "scale=1/127.5 --spec mean=1", {"scale": "1/127.5", "mean": "1"}),
    ],
)
def test_a_wrong_range_is_told_and_the_remedy_is_right(trained, capsys, place, told, spec):
    assert main(["model", "check", str(trained[place])]) == 0
    warned = capsys.readouterr().out
    assert "WARNING" in warned
    assert told in warned
    flags = [f"--spec={name}={value}" for name, value in spec.items()]
    assert main(["model", "check", str(trained[place]), *flags]) == 0
    assert "WARNING" not in capsys.readouterr().out
    pixels = np.stack([np.asarray(samples.make_image(i, 224, 224)) for i in range(4)])
    right = load_model(ModelConfig(str(trained[0]), batch_size=4)).embed_pixels(pixels)
    config = ModelConfig(str(trained[place]), batch_size=4, given=make_given(spec))
    found = load_model(config).embed_pixels(pixels)
    np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-4)


def test_a_classifier_of_two_classes_is_doubted_before_the_run(extract, photos, tmp_path, capsys):
    def call(images):
        tf = import_tensorflow()
        return {"classes": tf.nn.softmax(tf.reduce_mean(images, [1, 2])[:, :2] * 9)}

    samples.save_model(str(tmp_path / "m"), call)
    assert extract("--input", photos / "group0", model=str(tmp_path / "m")) == 0
    told = capsys.readouterr().err
    for words in ("2 numbers", "sum to one", "--spec output_name=", "RGB in [0, 1] is assumed"):
        assert words in told
    notes = json.loads((tmp_path / "out" / "run.json").read_text())["notes"]
    assert any("sum to one" in note for note in notes)
    command = ["doctor", "--input", str(photos), "--model", str(tmp_path / "m")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "WARN  embeddings" in out
    assert "but see WARN" in out


def test_nothing_is_doubted_of_a_model_that_says_what_it_is(extract, photos, capsys, model_path):
    assert extract("--input", photos / "group0") == 0
    assert "WARNING" not in capsys.readouterr().err
    assert main(["doctor", "--input", str(photos), "--model", model_path]) == 0
    out = capsys.readouterr().out
    assert "nothing looks wrong, on made images and 8 of the input" in out
    assert "WARN" not in out


def test_embeddings_from_elsewhere_are_compared_image_by_image(tmp_path, capsys):
    handle, call = models.CASES["SavedModel, exported by Keras, pixels 0..255"].make(tmp_path)
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(4):
        samples.make_image(i, models.SIZE, models.SIZE).save(folder / f"{i}.png")
    pixels = np.stack(
        [np.asarray(samples.make_image(i, models.SIZE, models.SIZE)) for i in range(4)]
    )
    np.save(tmp_path / "v.npy", call(pixels))
    command = ["model", "check", str(handle), "--images", str(folder), "--reference"]
    assert main([*command, str(tmp_path / "v.npy"), "--spec", "scale=1"]) == 0
    out = capsys.readouterr().out
    assert "the same model, and the same preprocessing" in out
    assert out.count(".png") == 4
    assert main([*command, str(tmp_path / "v.npy")]) == 3  # With pixels in [0, 1].
    for bad, told in (("gone.npy", "cannot read --reference"), ("w.npy", "is [3, 2]")):
        np.save(tmp_path / "w.npy", np.zeros((3, 2), np.float32))
        assert main([*command, str(tmp_path / bad)]) == 2
        assert told in capsys.readouterr().err
    assert main(["model", "check", str(handle), "--images", str(tmp_path / "none")]) == 2
    assert main(["model", "check", str(handle), "--reference", "v.npy"]) == 2


@pytest.mark.parametrize(
    ("said", "warns"),
    [
        ({"pool": "none"}, True),
        ({"scale": 1 / 255}, False),
        ({"mean": 0.5, "std": 0.5}, False),
        ({"weights": "mine"}, False),  # Exports note them, also those of earlier versions.
    ],
)
def test_a_file_that_leaves_the_range_out_is_told_of(tmp_path, capsys, said, warns):
    path = models.make_twins(tmp_path)["saved_model"]
    (path / "beamvec.json").write_text(json.dumps(said))
    assert main(["model", "check", str(path)]) == 0
    assert ("RGB in [0, 1] is assumed" in capsys.readouterr().out) == warns


def test_what_model_spec_is_told_is_kept_even_if_it_is_the_default(tmp_path, capsys):
    path = models.make_twins(tmp_path)["saved_model"]
    assert main(["model", "spec", str(path), "--scale", "1/255"]) == 0
    assert json.loads((path / "beamvec.json").read_text()) == {"scale": 1 / 255}
    capsys.readouterr()
    assert main(["model", "check", str(path)]) == 0
    assert "is assumed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scale", "mean", "std", "warns"),
    [
        ("1/255", "123.675,116.28,103.53", "58.395,57.12,57.375", True),
        ("1", "0.485,0.456,0.406", "0.229,0.224,0.225", True),
        ("1/255", "0", "255", True),
        ("1/255", "0.485,0.456,0.406", "0.229,0.224,0.225", False),
        ("1", "123.675,116.28,103.53", "58.395,57.12,57.375", False),
        ("1", "103.939,116.779,123.68", "1", False),
        ("1/127.5", "1", "1", False),
    ],
)
def test_a_scale_and_a_mean_of_two_kinds_are_told(tmp_path, capsys, scale, mean, std, warns):
    path = models.make_twins(tmp_path)["saved_model"]
    flags = [f"--spec=scale={scale}", f"--spec=mean={mean}", f"--spec=std={std}"]
    assert main(["model", "check", str(path), *flags]) == 0
    assert ("which none is trained on" in capsys.readouterr().out) == warns


def test_a_model_that_gets_0_to_255_is_not_advised_to_try_that(tmp_path, capsys):
    handle, _ = models.CASES["ONNX, NHWC, uint8"].make(tmp_path)
    assert main(["model", "check", str(handle)]) == 0
    out = capsys.readouterr().out
    assert "are alike" in out
    assert "scale=1" not in out
