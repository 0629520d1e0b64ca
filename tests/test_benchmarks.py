"""The benchmarks run, on next to nothing; what they measure is not looked at."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import samples
from beamvec.pipeline.commands.main import main

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Eight JPEGs in two classes."""
    for seed in range(8):
        file = tmp_path / "images" / f"class{seed % 2}" / f"{seed}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(samples.encode(samples.make_image(seed), "JPEG"))
    return tmp_path / "images"


def test_the_cheap_ones_run_and_write_json(images, model_path, tmp_path):
    flags = ["--quick", "--rounds", "2", "--only", "decoding", "accuracy", "parquet_codec"]
    flags += ["reading"]
    flags += ["--variants", "float32", "--size", str(samples.SIZE), "--json", str(tmp_path / "b")]
    command = [sys.executable, str(BENCHMARKS / "run.py"), *flags]
    command += ["--images", str(images), "--model", model_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "b").read_text())
    assert found["machine"]["cores"] >= 1
    decoding, accuracy, codec, reading = found["benchmarks"]
    assert decoding["failed"] == {}
    assert len(decoding["ratios"]) == (0 if decoding["skipped"] else 4)
    assert accuracy["skipped"] == accuracy["failed"] == codec["failed"] == reading["failed"] == {}
    (right,) = accuracy["figures"]
    assert right["name"] == "float32: neighbour of its class"
    figures = {figure["name"]: figure for figure in codec["figures"]}
    speed = figures["zstd PLAIN: read"]
    assert len(speed["values"]) == 2
    assert speed["min"] <= speed["median"] <= speed["max"]
    assert all(name in done.stdout for name in figures)


@pytest.mark.skipif(
    os.environ.get("BEAMVEC_BENCHMARKS") != "all", reason="BEAMVEC_BENCHMARKS=all runs it"
)
def test_containers_urls_and_saturation_are_measured(images, model_path, tmp_path):
    flags = ["--quick", "--only", "containers", "urls", "saturation"]
    flags += ["--json", str(tmp_path / "b")]
    flags += ["--size", str(samples.SIZE), "--images", str(images), "--model", model_path]
    command = [sys.executable, str(BENCHMARKS / "run.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads((tmp_path / "b").read_text())["benchmarks"]
    assert not any(each["failed"] or each["skipped"] for each in found), done.stderr
    saturation = {each["name"]: each for each in found}["saturation"]
    assert [figure["values"][0] > 0 for figure in saturation["figures"]] == [True] * 3
    ratios = [ratio["name"] for each in found for ratio in each["ratios"]]
    names = ["tar / files: decode", "parquet / files: decode", "tar / files: pipeline"]
    assert ratios == [*names, "parquet / files: pipeline", "URLs / files"]


def test_a_gpu_is_measured_by_one_command(images, model_path, tmp_path):
    flags = ["--quick", "--rounds", "2", "--batch-sizes", "4", "--size", str(samples.SIZE)]
    flags += ["--images", str(images), "--model", model_path, "--json", str(tmp_path / "b")]
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--device", "cpu", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "b").read_text())["benchmarks"]
    assert found["failed"] == found["skipped"] == {}
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "|" in line]
    model, run = rows[:4], rows[4:]
    assert [row[:3] for row in model[2:]] == [["float32", "off", "4"], ["float32", "on", "4"]]
    assert {len(row) for row in model} == {9}
    assert model[2][-3:] == ["1.00000", "1.00000", "the same"]
    assert [row[:3] for row in run[2:]] == [row[:3] for row in model[2:]]
    assert {len(row) for row in run} == {8}


@pytest.fixture
def measure(monkeypatch):
    """The module `benchmarks/measure.py`."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import measure

    return measure


def test_variants_take_turns_and_one_that_cannot_run_is_left_out(measure, capsys):
    calls: list[str] = []

    def skip() -> float:
        raise measure.Skipped("no such processor")

    def break_down() -> float:
        calls.append("broken")
        raise measure.Failed("exit code 3")

    variants = {
        "a": lambda: calls.append("a") or 2.0,
        "none": skip,
        "broken": break_down,
        "b": lambda: calls.append("b") or 4.0,
    }
    report = measure.Report("some", "something")
    results = measure.take_turns(variants, 2, report, warm_up=True)
    assert calls == ["a", "broken", "b", "a", "b", "a", "b"]
    assert results == {"a": [2.0, 2.0], "b": [4.0, 4.0]}
    assert report.skipped == {"none": "no such processor"}
    assert report.failed == {"broken": "exit code 3"}
    assert "round 2 of 2, b" in capsys.readouterr().err


def test_ratios_are_of_the_same_round_and_say_whether_the_goal_is_met(measure):
    report = measure.Report("some", "something", skipped={"c": "it is not installed"})
    report.add_ratio("a / b", [3.0, 8.0, 5.0], [1.0, 4.0, 2.0], measure.Goal(">=", 2.5))
    report.add_ratio("a / missing", [3.0], [])
    (ratio,) = report.describe()["ratios"]
    assert ratio == {
        "name": "a / b",
        "unit": "ratio",
        "values": (3.0, 2.0, 2.5),
        "median": 2.5,
        "min": 2.0,
        "max": 3.0,
        "goal": {"kind": ">=", "bound": 2.5},
        "met": True,
    }
    table = measure.format_report(report)
    assert "goal >= 2.5: met" in table
    assert "c: skipped: it is not installed" in table


@pytest.fixture
def transfer(monkeypatch):
    """The module `benchmarks/transfer.py`; the commands that it starts run in this process."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import transfer

    def run(command: list[str]) -> float:
        assert main(command[3:]) == 0
        return 0.0

    monkeypatch.setattr(transfer.processes, "time_command", run)
    return transfer


def save_backbone(path: Path) -> None:
    """Save a small network of pixels from 0 to 255."""
    import keras

    layers = keras.layers
    convolution = layers.Conv2D(8, 5, 4, activation="relu")
    scaling = layers.Rescaling(1 / 255)
    pool = layers.GlobalAveragePooling2D()
    keras.utils.set_random_seed(0)
    keras.Sequential([keras.Input((32, 32, 3)), scaling, convolution, pool]).save(path)


def test_a_network_is_fine_tuned_exported_embedded_and_probed(transfer, tmp_path, capsys):
    for seed in range(20):
        file = tmp_path / "images" / "ab"[seed % 2] / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        (samples.make_image(seed) if seed % 2 else samples.make_image(seed).rotate(90)).save(file)
    save_backbone(tmp_path / "backbone.keras")
    images = transfer.find_images(tmp_path / "images")
    assert images.is_train.sum() == 14
    table = transfer.run(images, str(tmp_path / "backbone.keras"), 1, True, tmp_path)
    head, _, own, *rows = [line.split("|")[1:-1] for line in table.splitlines()]
    assert head[0].strip() == "6 images held out, 2 classes"
    numbers = [float(own[2]), *(float(cell) for row in rows for cell in row[1:])]
    assert len(numbers) == 7
    assert all(0 <= number <= 1 for number in numbers)
    assert "epoch 1 of 1, loss" in capsys.readouterr().err


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_starts_as_the_linear_probe(transfer, classes, tmp_path, random):
    import fine_tuning

    save_backbone(tmp_path / "backbone.keras")
    backbone = fine_tuning.load_backbone(str(tmp_path / "backbone.keras"))
    model = fine_tuning.build_classifier(backbone, classes)
    pixels = random.integers(0, 256, (30, 32, 32, 3)).astype("f")
    features = backbone.predict_on_batch(pixels)
    probe = transfer.fit_linear(features, random.permutation(30) % classes)
    fine_tuning.set_head(model, probe)
    found = model.predict_on_batch(pixels)
    assert found == pytest.approx(probe.predict_proba(features), abs=1e-3)


def test_parts_that_are_there_are_kept_and_images_reduced(transfer, tmp_path):
    for name in ("train/a/1", "train/b/2", "train/a/3", "test/a/4", "test/b/5", "train/b/6"):
        (tmp_path / "given" / name).parent.mkdir(parents=True, exist_ok=True)
        samples.make_image(1).save(tmp_path / "given" / f"{name}.jpg")
    given = transfer.find_images(tmp_path / "given")
    transfer.write_reduced(given, 12, tmp_path / "reduced")
    images = transfer.find_images(tmp_path / "reduced")
    held_out = [Path(images.files[row]).name for row in np.flatnonzero(~images.is_train)]
    assert held_out == ["4.png", "5.png"]
    assert samples.Image.open(images.files[0]).size == (12, 12)


@pytest.mark.parametrize("name", ["accuracy", "gpu", "measure"])
def test_examples_are_true(measure, name):  # noqa: ARG001 It puts the folder on the path.
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_modules_stay_readable():
    for file in BENCHMARKS.rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 350, file
