"""Models of torchvision and timm, exported to ONNX; `make test-torch` installs what they need."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

import samples
from beamvec.pipeline.commands.main import main

torch = pytest.importorskip("torch", reason="needs the extra torch: make test-torch")
pytest.importorskip("onnxscript", reason="needs the extra torch: make test-torch")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra torch: make test-torch")
timm = pytest.importorskip("timm", reason="needs the extra torch: make test-torch")
torchvision = pytest.importorskip("torchvision", reason="needs the extra torch: make test-torch")
safetensors = pytest.importorskip("safetensors.torch", reason="needs the extra torch")

PIXELS = np.stack([np.asarray(samples.make_image(i, 224, 224)) for i in range(3)])
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def run_onnx(path, pixels=PIXELS, mean=MEAN, std=STD):
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    images = torchvision.transforms.functional.normalize(images, mean, std)
    session = onnxruntime.InferenceSession(path)
    return images, session.run(["features"], {"pixels": images.numpy()})[0]


def described_crop():
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    ratio = preset.crop_size[0] / preset.resize_size[0]
    return {} if ratio == 0.875 else {"crop_ratio": ratio}


def test_torchvision_without_its_classifier(tmp_path, capsys):
    words = ["model", "export", "torchvision:resnet18", str(tmp_path / "m")]
    assert main([*words, "--weights", "random", "--seed", "3"]) == 0
    assert "RANDOM WEIGHTS" in capsys.readouterr().out
    torch.manual_seed(3)
    reference = torchvision.models.resnet18(weights=None).eval()
    reference.fc = torch.nn.Identity()
    for n in (1, 3):  # The file takes any number of images.
        images, features = run_onnx(str(tmp_path / "m" / "model.onnx"), PIXELS[:n])
        with torch.inference_mode():
            expected = reference(images).numpy()
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert (
        json.loads((tmp_path / "m" / "beamvec.json").read_text())
        == {
            "model": "model.onnx",
            "input_name": "pixels",
            "layout": "NCHW",
            "scale": 1 / 255,
            "size": 224,
            "mean": MEAN,
            "std": STD,
            "resize": "crop",
            "output_name": "features",
            "dimension": 512,
            "weights": "random",
            "source": "torchvision:resnet18",
        }
        | described_crop()
    )


def test_timm_with_fine_tuned_weights_and_pixels(tmp_path):
    torch.manual_seed(1)
    tuned = timm.create_model("mobilenetv3_small_050", num_classes=7).eval()
    weights = str(tmp_path / "tuned.safetensors")
    safetensors.save_file(tuned.state_dict(), weights)
    path = str(tmp_path / "m.onnx")
    words = ["model", "export", "timm:mobilenetv3_small_050", path, "--weights", weights]
    assert main([*words, "--mean", "0.5", "--std", "0.5"]) == 0
    images, features = run_onnx(path, mean=[0.5] * 3, std=[0.5] * 3)
    tuned.reset_classifier(0)
    with torch.inference_mode():
        expected = tuned(images).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    described = json.loads((tmp_path / "beamvec.json").read_text())
    assert described["model"] == "m.onnx"
    assert described["weights"] == "file"
    assert described["mean"] == described["std"] == [0.5] * 3
    assert described["interpolation"] == "bicubic"
    assert main([*words[:3], str(tmp_path / "n.onnx"), *words[4:]]) == 2  # It has a description.


def test_weights_of_another_model_are_refused(tmp_path, capsys):
    weights = str(tmp_path / "w.safetensors")
    safetensors.save_file({"x.weight": torch.zeros(2)}, weights)
    words = ["model", "export", "torchvision:resnet18", str(tmp_path / "m"), "--weights", weights]
    assert main(words) == 2
    assert "does not fit the model: it lacks conv1.weight" in capsys.readouterr().err


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("is_zip", [True, False])
def test_downloaded_weights_run_no_code(tmp_path, monkeypatch, capsys, is_zip):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    name = torchvision.models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    cached = tmp_path / "home" / "hub" / "checkpoints" / name
    cached.parent.mkdir(parents=True)
    bomb = {"conv1.weight": Bomb(str(tmp_path / "exploded"))}
    if is_zip:
        torch.save(bomb, cached)
    else:
        cached.write_bytes(pickle.dumps(bomb))
    assert main(["model", "export", "torchvision:resnet18", str(tmp_path / "m")]) == 2
    assert "cannot get torchvision:resnet18" in capsys.readouterr().err
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("timm:resnet18x", "choose one of timm:resnet18"),
        ("torchvision:renset50", "choose one of torchvision:resnet50"),
        ("torchvision:fcn_resnet50", "has no classifier"),
    ],
)
def test_mistakes_end_with_2(tmp_path, capsys, source, message):
    assert main(["model", "export", source, str(tmp_path / "m")]) == 2
    assert message in capsys.readouterr().err
