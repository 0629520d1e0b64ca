"""What is said of a model, beside it and in it."""

from __future__ import annotations

import contextlib
import json

import models
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import samples
from beamvec.errors import ModelError
from beamvec.model_spec import UNIT_SCALE, ModelSpec
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inference.brought import read_model_api, read_preprocessor, read_timm
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.description import (
    CONVENTION,
    describe_model,
    write_description,
)
from beamvec.transforms.inference.fields import FIELDS, check_fields
from beamvec.transforms.inference.metadata import read_onnx_metadata
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import ModelFiles

HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
VIT = {"size": {"height": 384, "width": 384}, "resample": 2, **HALVES}
CLIP = {"size": {"shortest_edge": 224}, "do_center_crop": True, "resample": 3, **HALVES}
CLIP |= {"crop_size": {"height": 224, "width": 224}}
DINO = {**CLIP, "size": {"shortest_edge": 256}}
CONVNEXT = {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3, **HALVES}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (VIT, {"size": 384, "resize": "stretch", "interpolation": "bilinear", "scale": UNIT_SCALE}),
        (CLIP, {"size": 224, "resize": "crop", "crop_ratio": 1, "interpolation": "bicubic"}),
        ({**CLIP, "size": 224, "crop_size": 224}, {"resize": "crop", "crop_ratio": 1}),
        (DINO, {"size": 224, "resize": "crop", "crop_ratio": 0.875}),
        (CONVNEXT, {"size": 224, "resize": "crop", "crop_ratio": 0.875}),
        ({**CONVNEXT, "size": {"shortest_edge": 384}}, {"size": 384, "resize": "stretch"}),
        ({**VIT, "rescale_factor": 1 / 127.5, "rescale_offset": True}, {"mean": [1.5] * 3}),
        ({**VIT, "include_top": True}, {"std": [0.25] * 3}),
        ({**VIT, "do_rescale": False}, {"scale": 1.0}),
        ({**VIT, "do_normalize": False}, {"mean": [0.0] * 3, "std": [1.0] * 3}),
        ({"size": 256, "do_flip_channel_order": True}, {"channels": "BGR", "mean": [0.0] * 3}),
    ],
)
def test_a_preprocessor_is_read(content, expected):
    fields = read_preprocessor(content)
    assert {name: fields[name] for name in expected} == expected
    ModelSpec(**check_fields(fields))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"do_pad": True}, "do_pad=True cannot be expressed"),
        ({"do_resize": False}, "do_resize=false"),
        ({"size": {"longest_edge": 224}}, "no square"),
        ({"size": {"shortest_edge": 224}}, "without do_center_crop"),
        ({"size": {"height": 2, "width": 3}}, "no square"),
        ({"size": {"height": 9, "width": 9}, "do_center_crop": True, "crop_size": 8}, "then cut"),
        ({"resample": 9}, "resample=9"),
        ({"image_mean": None, "do_normalize": True}, "no image_mean"),
        ({"size": None}, "size=None"),
    ],
)
def test_what_a_preprocessor_cannot_express_is_refused_by_name(change, told):
    with pytest.raises(ValueError, match=told):
        read_preprocessor({**VIT, **change})


TIMM = {"input_size": [3, 224, 224], "crop_pct": 0.9, "interpolation": "bicubic"}
TIMM |= {"mean": [0.5] * 3, "std": [0.5] * 3}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"input_size": [1, 28, 28]}, "no square of three"),
        ({"input_size": [3, 224, 192]}, "no square of three"),
        ({"crop_mode": "border"}, "crop_mode=border"),
        ({"crop_mode": "squash"}, "crop_mode=squash"),
    ],
)
def test_what_timm_says_is_read_or_refused(change, told):
    assert read_timm(TIMM)["crop_ratio"] == 0.9
    assert read_timm({**TIMM, "crop_mode": "squash", "crop_pct": 1.0})["resize"] == "stretch"
    with pytest.raises(ValueError, match=told):
        read_timm({**TIMM, **change})


def test_model_api_is_read_or_refused():
    said = {"model_type": "x", "mean_values": "[1 2 3]", "resize_type": "crop"}
    fields = check_fields(read_model_api(said))
    assert (fields["mean"], fields["channels"], fields["scale"]) == ((1, 2, 3), "BGR", 1)
    assert read_model_api({"framework": "onnx"}) == {}
    for name, value in (("resize_type", "fit_to_window"), ("interpolation_type", "AREA")):
        with pytest.raises(ValueError, match=f"{name}={value}"):
            read_model_api({**said, name: value})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "Expecting"),
        ("[]", "no JSON object"),
        ('{"scal": 1}', "a model has no scal; did you mean scale"),
        ('{"scale": "big"}', "scale=big is no number"),
        ('{"scale": 0}', "every image black"),
        ('{"std": [1, 0, 1]}', "std has a 0"),
        ('{"mean": [1, 2]}', "nor three of them"),
        ('{"pool": "max"}', "it takes none, mean, cls"),
        ('{"crop_ratio": 2}', "out of range"),
        ('{"weights": 3}', "weights is 3, no text"),
        ('{"antialias": 1}', "neither true nor false"),
    ],
)
def test_a_wrong_description_is_named(tmp_path, text, told):
    files = ModelFiles(str(tmp_path), str(tmp_path))
    (tmp_path / "beamvec.json").write_text(text)
    with pytest.raises(ModelError, match=told) as raised:
        describe_model(files)
    assert str(tmp_path / "beamvec.json") in str(raised.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
KEYS = [*FIELDS, *VIT, *CLIP, *CONVNEXT, *TIMM, "weights", "model", "pretrained_cfg"]


@settings(suppress_health_check=[HealthCheck.too_slow])  # A machine that is busy is no fault.
@given(
    st.sampled_from(["beamvec.json", "preprocessor_config.json", "config.json"]),
    st.dictionaries(st.sampled_from(KEYS), json_values, max_size=6),
)
def test_any_description_is_taken_or_refused(tmp_path_factory, name, content):
    folder = tmp_path_factory.mktemp("m")
    (folder / name).write_text(json.dumps(content))
    with contextlib.suppress(ModelError):  # Nothing else, whatever the file says.
        spec = describe_model(ModelFiles(str(folder), str(folder))).spec
        assert spec.scale != 0
        assert 0 not in spec.std


def test_a_description_of_another_model_is_refused(tmp_path):
    models.make_onnx(tmp_path / "a.onnx")
    write_description(ModelFiles.fetch(str(tmp_path / "a.onnx")), {"scale": 1.0}, {})
    assert describe_model(ModelFiles.fetch(str(tmp_path / "a.onnx"))).spec.scale == 1
    models.make_onnx(tmp_path / "b.onnx")
    with pytest.raises(ModelError, match=r"describes a.onnx, not b.onnx"):
        describe_model(ModelFiles.fetch(str(tmp_path / "b.onnx")))
    with pytest.raises(ModelError, match=r"several models \(a.onnx, b.onnx\)"):
        ModelFiles.fetch(str(tmp_path))


def test_the_first_that_says_something_counts(tmp_path):
    own = {"beamvec": json.dumps({"scale": 0.25})}
    models.make_onnx(tmp_path / "m.onnx", metadata=own)
    files = ModelFiles.fetch(str(tmp_path / "m.onnx"))
    assert describe_model(files).source == "the metadata in its file"
    assert describe_model(files).spec.scale == 0.25
    for name, content, source in (
        ("config.json", {"model_type": "bert"}, "the metadata in its file"),
        ("config.json", {"pretrained_cfg": TIMM}, "timm's config.json"),
        ("preprocessor_config.json", VIT, "Hugging Face's preprocessor_config.json"),
        ("beamvec.json", {}, "beamvec.json"),
    ):
        (tmp_path / name).write_text(json.dumps(content))
        assert describe_model(files).source == source
    assert describe_model(files).spec == ModelSpec()
    given_too = describe_model(files).override({"scale": 1.0})
    assert (given_too.spec.scale, given_too.source) == (1, "scale as given, else beamvec.json")


def test_a_file_that_is_no_onnx_is_refused(tmp_path):
    whole = tmp_path / "m.onnx"
    models.make_onnx(whole, metadata={"a": "b"})
    assert read_onnx_metadata(str(whole)) == {"a": "b"}
    content = whole.read_bytes()
    for length in (1, 7, len(content) // 2, len(content) - 3):
        whole.write_bytes(content[:length])
        with pytest.raises(ModelError):
            load_model(ModelConfig(str(whole), "onnxruntime", batch_size=3))
    whole.write_bytes(b"")
    with pytest.raises(ModelError, match="holds no model: it takes no input"):
        load_model(ModelConfig(str(whole), "onnxruntime", batch_size=3))
    whole.write_text("<html>not found</html>")
    with pytest.raises(ModelError, match="no ONNX file"):
        describe_model(ModelFiles.fetch(str(whole)))


def test_model_spec_writes_what_was_seen_to_work(tmp_path, capsys):
    handle, call = models.CASES["SavedModel, exported by Keras, pixels 0..255"].make(tmp_path)
    assert describe_model(ModelFiles.fetch(str(handle))).source == CONVENTION
    assert main(["model", "spec", str(handle), "--pool", "mean", "--scale", "1"]) == 2
    assert "needs --pool none, not pool=mean" in capsys.readouterr().err
    assert not (handle / "beamvec.json").exists()
    assert main(["model", "spec", str(handle), "--mean", "1,2"]) == 2
    assert "beamvec: --mean 1,2 is no number, nor three of them" in capsys.readouterr().err
    assert main(["model", "spec", str(handle), "--scale", "1"]) == 0
    assert "[N, 32, 32, 3] RGB in [0, 255]" in capsys.readouterr().out
    assert json.loads((handle / "beamvec.json").read_text()) == {"scale": 1.0}
    assert main(["model", "spec", str(handle), "--resize", "crop"]) == 0
    assert json.loads((handle / "beamvec.json").read_text()) == {"scale": 1.0, "resize": "crop"}
    pixels = np.stack([np.asarray(samples.make_image(i, 32, 32)) for i in range(3)])
    model = load_model(ModelConfig(str(handle), batch_size=3))
    np.testing.assert_allclose(model.embed_pixels(pixels), call(pixels), rtol=1e-4, atol=1e-4)


def test_the_contract_is_recorded_and_searched_with(extract, dataset, tmp_path, photos, capsys):
    handle, _ = models.CASES["SavedModel, exported by Keras, pixels 0..255"].make(tmp_path)
    flags = ["--input", photos, "--max-failure-ratio", "1"]
    assert extract(*flags, "--spec", "scale=1", "--resize", "crop", model=str(handle)) == 0
    run = dataset().run
    assert (run.spec.scale, run.spec.resize, run.spec.size) == (1, "crop", 32)
    assert run.spec_source == f"resize, scale as given, else {CONVENTION}"
    metadata = (
        json.loads(dataset().schema.metadata[b"beamvec"]) if dataset().schema.metadata else {}
    )
    assert metadata.get("spec", {"scale": 1.0})["scale"] == 1.0
    image = dataset().read_uris()[0]
    command = ["search", str(tmp_path / "out"), "--model", str(handle), "--k", "1", "--json"]
    capsys.readouterr()
    assert main([*command, "--image", image]) == 0
    [result] = json.loads(capsys.readouterr().out)["queries"]
    assert result["matches"][0]["uri"] == image
    assert result["matches"][0]["cosine"] == pytest.approx(1, abs=1e-6)
    assert extract(*flags, model=str(handle)) == 2
    assert "scale is 1.0, not 0.00392" in capsys.readouterr().err


def test_workers_refuse_what_is_said_otherwise_since_the_launch(tmp_path):
    from beamvec.transforms.inference.features import FeatureModelHandler

    models.make_onnx(tmp_path / "m.onnx")
    config = ModelConfig(str(tmp_path / "m.onnx"), batch_size=5)
    model = load_model(config)
    assert FeatureModelHandler(config, model.fingerprint, model.spec).load_model() is model
    said = ModelSpec(scale=1.0)
    with pytest.raises(ModelError, match=r"what is said of the model .* has changed since"):
        FeatureModelHandler(config, model.fingerprint, said).load_model()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("signature=embed", "only SavedModels have signatures"),
        ("crop_ratio=0.9", "counts with resize=crop only"),
    ],
)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_what_would_change_nothing_is_refused(tmp_path, capsys, said, told, engine):
    models.make_onnx(tmp_path / "m.onnx")
    command = ["model", "check", str(tmp_path / "m.onnx"), "--engine", engine]
    assert main([*command, "--spec", said]) == 2
    assert told in capsys.readouterr().err


def test_a_description_that_is_a_dead_link_is_not_overlooked(tmp_path):
    models.make_onnx(tmp_path / "m.onnx")
    (tmp_path / "beamvec.json").symlink_to(tmp_path / "gone.json")
    with pytest.raises(ModelError, match=r"beamvec.json: .*No such file"):
        describe_model(ModelFiles.fetch(str(tmp_path)))
