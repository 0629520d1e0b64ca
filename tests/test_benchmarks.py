"""The benchmarks run, on next to nothing; what they measure is not looked at."""

from __future__ import annotations

import doctest
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import samples

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
    flags = ["--quick", "--rounds", "2", "--only", "accuracy", "parquet_codec", "reading"]
    flags += ["--variants", "float32", "--size", str(samples.SIZE), "--json", str(tmp_path / "b")]
    command = [sys.executable, str(BENCHMARKS / "run.py"), *flags]
    command += ["--images", str(images), "--model", model_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "b").read_text())
    assert found["machine"]["cores"] >= 1
    accuracy, codec, reading = found["benchmarks"]
    assert accuracy["skipped"] == accuracy["failed"] == codec["failed"] == reading["failed"] == {}
    (right,) = accuracy["figures"]
    assert right["name"] == "float32: neighbour of its class"
    figures = {figure["name"]: figure for figure in codec["figures"]}
    speed = figures["zstd PLAIN: read"]
    assert len(speed["values"]) == 2
    assert speed["min"] <= speed["median"] <= speed["max"]
    assert all(name in done.stdout for name in figures)


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


@pytest.mark.parametrize("name", ["accuracy", "measure"])
def test_examples_are_true(measure, name):  # noqa: ARG001 It puts the folder on the path.
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_modules_stay_readable():
    for file in BENCHMARKS.rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 350, file
