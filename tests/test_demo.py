"""What `make demo` runs; the target itself makes a model of the full size."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beamvec.embeddings import open_dataset
from beamvec.errors import ModelError
from beamvec.pipeline.commands import demo
from beamvec.transforms.inference import hub
from beamvec.transforms.inference.config import DEFAULT_MODEL


def test_photographs_come_with_packages_and_get_views(tmp_path, capsys):
    pytest.importorskip("skimage", reason="the extra demo has the photographs")
    found = demo.find_photographs()
    assert len(found) >= 18
    folder = Path(demo.write_photographs(tmp_path / "photographs"))
    assert "four views made of it" in capsys.readouterr().out
    assert len(list(folder.iterdir())) == len(found)
    assert len(list(folder.rglob("*.jpg"))) == 5 * len(found)
    for view in ("whole", "left", "right", "middle", "dusk"):
        assert max(Image.open(folder / "chelsea" / f"{view}.jpg").size) <= 640


def test_photographs_that_are_not_installed_are_named(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "find_photographs", list)
    monkeypatch.setattr(sys, "argv", ["demo"])
    assert demo.main() == 2
    assert "pip install 'beamvec[demo]'" in capsys.readouterr().err


def test_views_are_parts_of_the_photograph():
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, 15:] = 200
    views = {name: np.asarray(v) for name, v in demo.make_views(Image.fromarray(pixels)).items()}
    np.testing.assert_array_equal(views["left"], pixels[:, :20])
    np.testing.assert_array_equal(views["right"], pixels[:, 10:])
    np.testing.assert_array_equal(views["middle"], pixels[3:16, 5:25])
    np.testing.assert_array_equal(views["dusk"], pixels[:, ::-1] // 2)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No hub answers, and what would be exported is noted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "list_addresses", lambda _: ["https://127.0.0.1:9/m"])
    monkeypatch.setattr(demo, "_KERAS_HOST", "127.0.0.1:9")
    exported = []

    def export(path):
        exported.append(path)
        Path(path).mkdir()

    monkeypatch.setattr(demo, "export_efficientnet_lite0", export)
    return exported


def test_without_a_network_the_package_has_the_weights(offline, capsys):
    assert demo.find_model() == "demo-output/efficientnet_lite0"
    assert demo.find_model() == "demo-output/efficientnet_lite0"
    assert len(offline) == 1  # The second demo finds the model of the first.
    told = capsys.readouterr().out
    assert told.count("the model is EfficientNet-Lite0 of a Python package; not ResNet-v2-50") == 2
    assert told.count("no answer from 127.0.0.1") == 4
    assert told.count("\n") == 2


def test_a_model_that_was_fetched_before_needs_no_network(offline, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(hub, "find_cached", lambda _: str(tmp_path))
    assert demo.find_model() == DEFAULT_MODEL
    assert capsys.readouterr().out == "the model is ResNet-v2-50 of TF-Hub or Kaggle\n"
    assert not offline


def test_weights_of_keras_come_before_those_of_the_package(offline, capsys, monkeypatch):
    monkeypatch.setattr(demo, "_require_answer", lambda _: None)
    monkeypatch.setattr(hub, "DOWNLOAD_TIMEOUT_S", 1.0)
    monkeypatch.setattr(demo, "export_model", lambda *arguments: Path(arguments[2]).mkdir())
    assert demo.find_model() == "demo-output/resnet50_v2"
    assert "Keras; not ResNet-v2-50 of TF-Hub or Kaggle: cannot fetch" in capsys.readouterr().out
    assert not offline


def test_half_an_export_is_made_anew(offline):
    Path("demo-output/efficientnet_lite0.tmp").mkdir(parents=True)
    assert Path(demo.find_model()).is_dir()
    assert len(offline) == 1


def test_no_model_at_all_ends_with_2(offline, monkeypatch, capsys):
    def fail(_):
        raise ModelError("not installed")

    monkeypatch.setattr(demo, "export_efficientnet_lite0", fail)
    monkeypatch.setattr(sys, "argv", ["demo", "--images", "."])
    assert demo.main() == 2
    assert "there is no model; not ResNet-v2-50" in capsys.readouterr().err
    assert not offline


def test_a_look_up_that_hangs_is_not_waited_for(offline, monkeypatch):
    release = threading.Event()

    def hang(*_, **__):
        release.wait(60)
        raise OSError

    monkeypatch.setattr(demo.urllib.request, "urlopen", hang)
    monkeypatch.setattr(demo, "_ANSWER_TIMEOUT_S", 0.2)
    try:
        assert demo.find_model().endswith("efficientnet_lite0")
        assert offline
    finally:
        release.set()


def test_neighbours_are_listed(extract, photos, tmp_path):
    extract("--input", photos / "group0")
    head, *lines = demo.describe_neighbours(open_dataset(tmp_path / "out"))
    assert head == "nearest neighbours by cosine"
    assert len(lines) == 8
    for line in lines:
        name, first, *_ = line.replace(",", "").split()
        assert name.startswith(("0", "1", "2"))
        assert "." not in name
        assert first != name  # An image is not its own neighbour.


def test_neighbours_in_folders_are_named_with_their_folder(extract, photos, tmp_path):
    extract("--input", photos, "--max-failure-ratio", "1")
    _, *lines = demo.describe_neighbours(open_dataset(tmp_path / "out"))
    assert all(line.split()[0].startswith("group") for line in lines)
