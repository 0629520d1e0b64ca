"""`beamvec model export`: what it takes, what it writes, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beamvec.pipeline.commands.main import main
from beamvec.transforms.export import export as export_module
from beamvec.transforms.export.saved_model import import_keras


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    """A small model that scales pixels itself."""
    keras = import_keras()
    path = str(tmp_path_factory.mktemp("keras") / "small.keras")
    layers = keras.layers
    keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=4, activation="relu"),
            layers.GlobalAveragePooling2D(),
        ]
    ).save(path)
    return path


def test_an_export_describes_itself(keras_file, tmp_path, photos, capsys):
    target = tmp_path / "new" / "m"
    images = str(photos / "group0")
    assert main(["model", "export", keras_file, str(target), "--images", images]) == 0
    described = {"size": 16, "dimension": 8, "weights": "file", "source": "small.keras"}
    described["scale"] = 1 / 255
    assert json.loads((target / "beamvec.json").read_text()) == described
    out = capsys.readouterr().out
    assert "least cosine 1.000000" in out
    assert "on 15 images" in out  # 4 made ones, and 11 photographs.
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m"]


def test_a_result_that_differs_ends_with_3_and_is_removed(
    keras_file, tmp_path, monkeypatch, capsys
):
    write = export_module.export_keras_file

    def write_wrongly(*args):
        exported = write(*args)
        return export_module.dataclasses.replace(
            exported, result=lambda pixels: exported.original(255 - pixels)
        )

    monkeypatch.setattr(export_module, "export_keras_file", write_wrongly)
    assert main(["model", "export", keras_file, str(tmp_path / "m")]) == 3
    assert "does not give what the original gives" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [8, 10, 16, 42])
def test_a_damaged_file_ends_with_2(keras_file, tmp_path, capsys, at):
    """In what the directory says of the configuration: flags, method, CRC and place."""
    damaged = bytearray(Path(keras_file).read_bytes())
    entry = damaged.rindex(b"PK\x01\x02", 0, damaged.rindex(b"config.json"))
    damaged[entry + at] ^= 1
    (tmp_path / "damaged.keras").write_bytes(damaged)
    assert main(["model", "export", str(tmp_path / "damaged.keras"), str(tmp_path / "m")]) == 2
    error = capsys.readouterr().err
    assert "damaged.keras is no .keras file that can be read" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ResNet50V2", "{new}"], "keras:NAME, torchvision:NAME"),
        (["model.h5", "{new}"], ".save('model.keras')"),
        (["model.pth", "{new}"], "save_file(model.state_dict()"),
        (["model.safetensors", "{new}"], "--weights model.safetensors"),
        (["{old}", "{new}"], "need no export"),
        (["keras:resnet50v3", "{new}"], "choose one of keras:ResNet50V2"),
        (["keras:VGG16", "{old}"], "exists"),
        (["keras:VGG16", "{new}.onnx"], "name a folder"),
        (["keras:VGG16", "{new}", "--weights", "/nowhere.h5"], "no such file"),
        (["keras:VGG16", "{new}", "--layer", "x"], "--layer is of no use for keras:VGG16"),
        (["keras:VGG16", "{new}", "--images", "/nowhere"], "no images there"),
        (["keras:MobileNetV3Small", "{new}", "--weights", __file__], "cannot load weights"),
        (["x.keras", "{new}", "--weights", "random"], "--weights is of no use"),
        (["x.keras", "{new}", "--mean", "1"], "give --scale too"),
        (["x.keras", "{new}", "--mean", "1,2"], "--mean 1,2 is no number, nor three"),
        (["x.keras", "{new}", "--scale", "1/0"], "no number"),
        (["x.keras", "{new}"], "can be read"),
        (["timm:resnet18", "{new}", "--weights", "w.bin"], "it is a pickle"),
    ],
)
def test_mistakes_end_with_2_and_leave_nothing(tmp_path, capsys, words, message):
    old = tmp_path / "old"
    old.mkdir()
    filled = [word.format(new=tmp_path / "new", old=old) for word in words]
    assert main(["model", "export", *filled]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [old]
